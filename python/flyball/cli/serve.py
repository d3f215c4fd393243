"""`flyball serve`: answer over HTTP."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import TYPE_CHECKING

from ..engine.model import demo_model_path
from ..errors import InvalidArgument, NotFound
from . import common

if TYPE_CHECKING:
    from ..journal.journal import Journal
    from ..serve.models import Served
    from ..serve.server import Server

_KEY_VARIABLE = "FLYBALL_API_KEY"
_LEAST_KEY = 8  # characters


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve",
        help="answer over HTTP: the APIs of OpenAI, Anthropic, Ollama and llama-server",
        description=__doc__,
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="[NAME=]MODEL",
        help="GGUF files to serve (default: the bundled demonstration model)",
    )
    parser.add_argument("--host", dest="serve.host", metavar="HOST", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", dest="serve.port", metavar="N", help="port (default: 8080; 0: a free one)")
    parser.add_argument(
        "--api-key-file", metavar="FILE", help=f"a file with API keys, one a line (or one key in ${_KEY_VARIABLE})"
    )
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    common.add_journal_flags(parser)
    parser.set_defaults(run=run, model=None)


def run(args: argparse.Namespace) -> int:
    """Load the models, and serve until SIGTERM or Ctrl-C."""
    try:
        from ..serve import server as serving
        from ..serve.models import Models
        from ..serve.settings import ServeSettings
    except ModuleNotFoundError as error:
        what = f"is missing, which serving needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = common.read_settings(args)
    serve_settings = ServeSettings.of(settings, _keys(args.api_key_file))
    sock = serving.listen(serve_settings.host, serve_settings.port)  # before the models: a taken port is told at once
    progress = common.Progress()
    with common.open_journal(args, settings) as journal:
        models = Models(_load(named, args, progress, journal) for named in args.models or [""])
        server = serving.Server(serve_settings, models)
        address = sock.getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        asyncio.run(serving.run(server, sock, lambda: _say(server, f"http://{host}:{address[1]}")))
    return common.SUCCESS


def _keys(file: str | None) -> tuple[str, ...]:
    lines = common.read_text(file).splitlines() if file else []
    keys = [line.strip() for line in (*lines, os.environ.get(_KEY_VARIABLE, "")) if line.strip()]
    if any(len(key) < _LEAST_KEY for key in keys):
        raise InvalidArgument(
            file or _KEY_VARIABLE, f"has a key of less than {_LEAST_KEY} characters; take a long random one"
        )
    if file and not keys:
        raise InvalidArgument(file, "has no key; give one a line")
    return tuple(keys)


def _load(named: str, args: argparse.Namespace, progress: common.Progress, journal: Journal | None) -> Served:
    """A model from [NAME=]FILE, with its fingerprint, so that no answer waits for it."""
    from ..serve.models import Served, file_name

    name, equals, path = named.partition("=")
    if not equals or os.path.exists(named):
        name, path = "", named
    args.model = path or None
    settings = common.read_settings(args)
    model = common.open_model(settings, progress, journal)
    model.fingerprint(progress)
    return Served(name or file_name(path or str(demo_model_path())), model)


def _say(server: Server, address: str) -> None:
    for served in server.models:
        info = served.model.info
        about = (
            f"{info.architecture} {info.quantization} on {info.isa}, {info.threads} threads, context {served.context}"
        )
        common.write(f"model   {common.printable(served.name)}: {about}\n")
    common.write(f"page    {address}/\nOpenAI  {address}/v1\nOllama  {address}\n")
    common.write("Ctrl-C ends it when the running answers are complete; a second one ends it now.\n")
    sys.stdout.flush()
