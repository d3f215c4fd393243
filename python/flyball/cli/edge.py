"""`flyball edge`: hand requests on to servers that compute, and go on elsewhere when one of them is lost."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from ..errors import NotFound
from ..files import state_folder
from . import common

if TYPE_CHECKING:
    import socket

    from ..journal.journal import Journal
    from ..scale.settings import EdgeSettings

_KEY_VARIABLE = "FLYBALL_API_KEY"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "edge", help="hand requests on to replicas: one address, answers that survive", description=__doc__
    )
    parser.add_argument(
        "--replica",
        action="append",
        default=[],
        metavar="URL",
        help="a server that computes, http://HOST:PORT; may be repeated (or edge.replicas)",
    )
    parser.add_argument(
        "--replicas-dns",
        default="",
        metavar="HOST:PORT",
        help="a name whose addresses are replicas, as they come and go",
    )
    parser.add_argument("--host", dest="edge.host", metavar="HOST", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", dest="edge.port", metavar="N", help="port (default: 8090; 0: a free one)")
    parser.add_argument(
        "--verify", dest="edge.verify", metavar="SHARE", help="share of answers that another replica computes once more"
    )
    common.add_flags(parser, [])
    common.add_journal_flags(parser)
    parser.set_defaults(run=run, model=None)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. The API key with which replicas are looked at is in $FLYBALL_API_KEY."""
    try:
        import uvloop

        from ..scale.settings import EdgeSettings
        from ..serve.server import listen
    except ModuleNotFoundError as error:
        what = f"is missing, which the edge needs: pip install 'flyball[scale]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = common.read_settings(args)
    edge = EdgeSettings.of(settings, tuple(args.replica), args.replicas_dns, os.environ.get(_KEY_VARIABLE, "").strip())
    sock = listen(edge.host, edge.port)
    folder = state_folder()
    if not (args.journal or settings["journal"].value) and folder is not None:
        args.journal = folder / "edge" / f"journal-{sock.getsockname()[1]}.jsonl"
    with common.open_journal(args, settings) as journal:
        uvloop.run(_serve(edge, sock, journal))
    return common.SUCCESS


async def _serve(settings: EdgeSettings, sock: socket.socket, journal: Journal | None) -> None:
    from ..scale.edge import Edge

    host, port = sock.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    loop = asyncio.get_running_loop()
    async with Edge.open(settings, journal) as edge:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, edge.end)
        await edge.serve(sock, lambda: _say(settings, address))


def _say(settings: EdgeSettings, address: str) -> None:
    for url in settings.replicas:
        common.write(f"replica {common.printable(url)}\n")
    if settings.dns:
        common.write(f"replicas of {common.printable(settings.dns)}\n")
    common.write(f"OpenAI  {address}/v1\nstate   {address}/edge/replicas\n")
    common.write("Ctrl-C ends it when the running answers are complete.\n")
    sys.stdout.flush()
