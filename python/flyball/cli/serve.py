"""`flyball serve`: answer over HTTP."""

from __future__ import annotations

import argparse
import math
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.configuration import Setting, named_models
from ..engine.handle import Recorder
from ..engine.model import Model, demo_model_path
from ..errors import InvalidArgument, NotFound
from ..files import data_folder, state_folder
from ..paths import expanded
from . import common, plugins

if TYPE_CHECKING:
    from ..journal.journal import Journal
    from ..serve.models import Entry
    from ..serve.records import Records
    from ..serve.server import Server
    from ..serve.settings import ServeSettings

_KEY_VARIABLE = "FLYBALL_API_KEY"
_LEAST_KEY = 8  # characters
_NO_STORE = "none"
_MOST_HOST = 50  # characters of the machine's name in the server's
_PREFIX_CACHE_MB = 1024  # unless a setting says otherwise: several chats, whose turns repeat all that was said


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
        metavar="[NAME[,NAME...]=]MODEL",
        help="GGUF files to serve, with names that requests may give (default: the bundled demonstration model)",
    )
    parser.add_argument("--host", dest="serve.host", metavar="HOST", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", dest="serve.port", metavar="N", help="port (default: 8080; 0: a free one)")
    parser.add_argument(
        "--api-key-file",
        metavar="FILE",
        help=f"a file with API keys, one a line (or one key in ${_KEY_VARIABLE}; flyball keys has others)",
    )
    parser.add_argument(
        "--dev-plugins", metavar="DIR", default="", help="also the plugins of this folder: for their development alone"
    )
    parser.add_argument(
        "--ray", type=int, default=0, metavar="N", help="N replicas as actors of Ray Serve, on its cluster or here"
    )
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    common.add_journal_flags(parser)
    parser.set_defaults(run=run, model=None)


def run(args: argparse.Namespace) -> int:
    """Load the models, and serve until SIGTERM or Ctrl-C."""
    if args.ray:
        return _on_ray(args)
    try:
        import uvloop

        from ..serve import descriptors
        from ..serve import server as serving
    except ModuleNotFoundError as error:
        what = f"is missing, which serving needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = _settings(args)
    descriptors.raise_limit(settings)
    sock = serving.listen(settings.host, settings.port)  # before the models: a taken port is told at once
    uvloop.run(_serve(args, settings, sock))
    return common.SUCCESS


async def _serve(args: argparse.Namespace, settings: ServeSettings, sock: socket.socket) -> None:
    from ..serve import server as serving

    host, port = sock.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    async with opened(args, settings, str(port)) as server:
        await serving.run(server, sock, lambda: _say(server, address))


def _on_ray(args: argparse.Namespace) -> int:
    try:
        from ..scale import on_ray
    except ModuleNotFoundError as error:
        what = f"is missing, which --ray needs: pip install 'flyball[ray]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = _settings(args)

    def open_server(name: str) -> AbstractAsyncContextManager[Server]:
        return opened(args, settings, name)

    on_ray.serve(open_server, settings, args.ray, lambda url: common.write(f"OpenAI  {url}/v1\n"))
    return common.SUCCESS


def _settings(args: argparse.Namespace) -> ServeSettings:
    from ..serve.settings import ServeSettings

    settings = common.read_settings(args)
    found = ServeSettings.of(settings, _keys(args.api_key_file), _has_stored_keys(settings))
    return replace(found, dev_plugins=args.dev_plugins)


@asynccontextmanager
async def opened(args: argparse.Namespace, serve_settings: ServeSettings, name: str) -> AsyncIterator[Server]:
    """A server with these arguments, its first models loaded. `name`: its own on this machine, for files and store."""
    from ..serve import server as serving
    from ..serve.models import Models
    from ..serve.routing import Routing
    from ..serve.tracing import traces_of

    settings = common.read_settings(args)
    args.journal = args.journal or settings["journal"].value or _state_file(f"journal-{name}.jsonl")
    with (
        traces_of(os.environ) as traces,
        common.open_journal(args, settings) as journal,
        _records(settings, name, journal) as records,
    ):
        late = records.late(journal) if journal is not None else None
        entries = list(_entries(args, settings, late))
        models = Models(entries, serve_settings.memory_bytes)
        server = serving.Server(serve_settings, models, records, _state_file("unfinished.jsonl"), settings)
        server.observe.traces = traces
        if serve_settings.routes:
            server.routing = Routing(Path(expanded(serve_settings.routes)), models, records, server.adapters)
        for entry in entries:
            if math.isinf(entry.keep_alive):
                await models.get(entry.name)
        if server.routing is not None:
            await server.routing.start()
        yield server


@contextmanager
def _records(settings: Mapping[str, Setting], name: str, journal: Journal | None) -> Iterator[Records]:
    """What remembers and signs answers, in the user's state folder unless the settings say otherwise."""
    from ..audit import Keys, Signer
    from ..serve.records import Records
    from ..store import Store

    url, folder = store_url(settings), state_folder()
    keep_text = settings["serve.keep_text"].value == "on"
    store = None
    if url is not None:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())[:_MOST_HOST]
        store = Store.open(url, instance=f"{host}_{name}", keep_text=keep_text)
    signing = settings["serve.name"].value or socket.gethostname()
    signer = None if folder is None else Signer(Keys(folder / "keys"), signing, journal)
    records = Records(store, signer, settings["serve.receipt_hours"].value, keep_text)
    try:
        yield records
    finally:
        records.close()
        if store is not None:
            store.close()


def store_url(settings: Mapping[str, Setting]) -> str | None:
    """The store of servers with these settings; None: they have none."""
    url = str(settings["serve.store"].value)
    default = _state_file("store.sqlite")
    if url == _NO_STORE or not (url or default):
        return None
    return url or str(default)


def models_folder(settings: Mapping[str, Setting]) -> Path | None:
    """The folder whose models are served, and into which flyball pull brings others."""
    if folder := settings["serve.models"].value:
        return Path(expanded(folder))
    return None if (folder := data_folder()) is None else folder / "models"


def _has_stored_keys(settings: Mapping[str, Setting]) -> bool:
    from ..store import Store

    if (url := store_url(settings)) is None:
        return False
    with Store.open(url) as store:
        return store.has_keys()


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


def _entries(args: argparse.Namespace, settings: Mapping[str, Setting], journal: Recorder | None) -> Iterator[Entry]:
    """The models of the command line, then those of the configuration, then those of the folder.

    The first ones are loaded at once and stay; the others when they are asked for.
    """
    from ..serve.models import file_name, files_in

    known = set()
    for word in args.models:
        names, path = _named(word)
        name, *aliases = names or [file_name(path)]
        known.add(name)
        yield _entry(args, name, path, journal, aliases, stays=True)
    for name in named_models(args.config):
        path = common.read_settings(args, name)["model"].value
        if name not in known and path:
            known.add(name)
            yield _entry(args, name, path, journal)
    folder = models_folder(settings)
    if folder is not None and (settings["serve.models"].value or folder.is_dir()):
        for file in files_in(folder):
            if file_name(str(file)) not in known:
                known.add(file_name(str(file)))
                yield _entry(args, file_name(str(file)), str(file), journal)
    if not known:
        yield _entry(args, file_name(str(demo_model_path())), "", journal, stays=True)


def entries_of(args: argparse.Namespace) -> list[Entry]:
    """The models that a server with these arguments would have; none is loaded."""
    return list(_entries(args, common.read_settings(args), None))


def _named(word: str) -> tuple[list[str], str]:
    """Names and path of [NAME[,NAME...]=]FILE."""
    names, equals, path = word.partition("=")
    if not equals or os.path.exists(word):
        return [], word
    return [name.strip() for name in names.split(",") if name.strip()], path


def _entry(
    args: argparse.Namespace,
    name: str,
    path: str,
    journal: Recorder | None,
    aliases: Sequence[str] = (),
    stays: bool = False,
) -> Entry:
    from ..serve.models import Entry

    settings = common.read_settings(args, name)
    settings["model"] = replace(settings["model"], value=path)
    if settings["prefix_cache_mb"].origin == "default":
        settings["prefix_cache_mb"] = replace(settings["prefix_cache_mb"], value=_PREFIX_CACHE_MB)

    def load() -> Model:
        progress = common.Progress() if stays else None
        model = common.open_model(settings, progress, journal)
        model.fingerprint(progress)  # here, so that no answer waits for it
        return model

    keep_alive = math.inf if stays else settings["serve.keep_alive"].value
    file = Path(expanded(path)) if path else demo_model_path()
    return Entry(name, file, load, (*aliases, *settings["serve.aliases"].value.split()), keep_alive)


def _state_file(name: str) -> Path | None:
    """A file of servers in the user's state folder, which a server has for itself; None where there is none."""
    folder = state_folder()
    if folder is None:
        return None
    return folder / "serve" / name


def _say(server: Server, address: str) -> None:
    for served in server.models:
        info = served.model.info
        about = (
            f"{info.architecture} {info.quantization} on {info.isa}, {info.threads} threads, context {served.context}"
        )
        common.write(f"model   {common.printable(served.name)}: {about}\n")
    common.write(f"page    {address}/\nOpenAI  {address}/v1\nOllama  {address}\n")
    plugins.say_found(server.plugins.found, server.settings.dev_plugins)
    common.write("Ctrl-C ends it when the running answers are complete; a second one ends it now.\n")
    sys.stdout.flush()
