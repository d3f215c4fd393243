"""`flyball memory`: what is remembered of users, to see, add, search, export and forget."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from ..config.configuration import Setting
from ..errors import InvalidArgument, NotFound
from . import common
from .serve import store_url

if TYPE_CHECKING:
    from ..memory import Embedder, Memory
    from ..store import Project, Store

_MOST_SHOWN = 72  # characters of a text in a list


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("memory", help="what is remembered of users", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    adding = actions.add_parser("add", help="remember a document, or a fact", parents=[common.JSON])
    adding.add_argument("file", metavar="FILE", nargs="?", help="a text file (-: standard input)")
    adding.add_argument("--fact", metavar="TEXT", help="a fact instead of a file")
    adding.add_argument("--name", metavar="NAME", help="what to call the document (default: the file's name)")
    listing = actions.add_parser("list", help="facts and documents", parents=[common.JSON])
    listing.add_argument("--all", action="store_true", help="also facts that later ones have replaced")
    searching = actions.add_parser("search", help="pieces of documents that fit a question", parents=[common.JSON])
    searching.add_argument("question", metavar="QUESTION", nargs="+")
    showing = actions.add_parser("show", help="the text of one", parents=[common.JSON])
    showing.add_argument("id", metavar="ID")
    forgetting = actions.add_parser("forget", help="delete for good", parents=[common.JSON])
    forgetting.add_argument("ids", metavar="ID", nargs="*")
    forgetting.add_argument("--all", action="store_true", help="everything of the user")
    exporting = actions.add_parser("export", help="everything of the user as JSON lines")
    exporting.add_argument("--out", metavar="FILE", help="write it there instead of printing it")
    deletions = actions.add_parser("deletions", help="what was forgotten; checks the records", parents=[common.JSON])
    stats = actions.add_parser("stats", help="how much is remembered, and how often it was used", parents=[common.JSON])
    of_user = {"add": (adding, add_one), "list": (listing, show_all), "search": (searching, search)}
    of_user |= {"show": (showing, show), "forget": (forgetting, forget), "export": (exporting, export)}
    for each, _ in of_user.values():
        each.add_argument("--user", default="local", help="whose (default: local; else an API key's id, or KEY/USER)")
    for each, run in (*of_user.values(), (deletions, show_deletions), (stats, show_stats)):
        each.add_argument("--project", default="default", help="of this project")
        common.add_flags(each, [])
        each.set_defaults(run=run)


def add_one(args: argparse.Namespace) -> int:
    """Remember a document or a fact."""
    if (args.file is None) == (args.fact is None):
        raise InvalidArgument("flyball memory add", "needs a FILE, or --fact TEXT")
    with _memory(args, embeds=args.file is not None) as memory:
        if args.fact is not None:
            item = memory.remember(common.argument_text(args.fact))
        else:
            name = args.name or ("standard input" if args.file == "-" else Path(args.file).name)
            item = memory.add(common.argument_text(name), common.read_text(args.file))
    if args.json:
        common.write_json(vars(item))
    else:
        common.write(f"{item.id} {item.kind}, {item.n_characters} characters\n")
    return common.SUCCESS


def show_all(args: argparse.Namespace) -> int:
    """List what is remembered."""
    with _memory(args) as memory:
        items = list(memory.items(replaced=args.all))
        texts = {item.id: memory.text(item.id) for item in items if item.kind == "fact"}
    if args.json:
        common.write_json([{**vars(item), "text": texts.get(item.id)} for item in items])
    elif items:
        rows = [
            (item.id, item.kind, _time(item.created), "" if item.replaced is None else _time(item.replaced),
             _cut(texts.get(item.id) or item.name or ""))
            for item in items
        ]  # fmt: skip
        common.write_table([("ID", "KIND", "CREATED", "REPLACED", "TEXT OR NAME"), *rows])
    else:
        common.write("Nothing is remembered of this user; flyball memory add FILE does.\n")
    return common.SUCCESS


def search(args: argparse.Namespace) -> int:
    """Find pieces of documents."""
    with _memory(args, embeds=True) as memory:
        found = memory.search(common.argument_text(" ".join(args.question)))
    if args.json:
        common.write_json([{"id": each.id, **vars(each)} for each in found])
    elif found:
        common.write_table([("ID", "NAME", "TEXT"), *((each.id, _cut(each.name), _cut(each.text)) for each in found)])
    else:
        common.write("Nothing fits.\n")
    return common.SUCCESS


def show(args: argparse.Namespace) -> int:
    """Print the text of one item."""
    with _memory(args) as memory:
        item, text = memory.get(args.id), memory.text(args.id)
    if args.json:
        common.write_json({**vars(item), "text": text})
    else:
        common.write(f"{text}\n")
    return common.SUCCESS


def forget(args: argparse.Namespace) -> int:
    """Delete items, and print the record."""
    if bool(args.ids) == args.all:
        raise InvalidArgument("flyball memory forget", "needs ids, or --all")
    with _memory(args) as memory:
        made = memory.forget(None if args.all else args.ids)
    record = made.as_dict()
    if args.json:
        common.write_json(record)
    else:
        common.write(
            f"forgotten: {len(record['items'])} with {record['n_chunks']} pieces and {record['n_vectors']} vectors\n"
            f"record {made.number}, hash {made.hash}\n"
        )
    if made.wiped is False:
        common.say_error("another program reads the store: the bytes stay in its log until the next deletion")
    return common.SUCCESS


def export(args: argparse.Namespace) -> int:
    """Write everything of the user as JSON lines."""
    with _memory(args) as memory:
        lines = "".join(json.dumps(each, sort_keys=True) + "\n" for each in memory.export())
    if args.out:
        files.write(args.out, lines)
    else:
        common.write(lines)
    return common.SUCCESS


def show_deletions(args: argparse.Namespace) -> int:
    """List the records, and check their chain."""
    from ..store.chain import first_broken

    with _project(args) as (project, _):
        chain = project.deletions.all()
    broken = first_broken(chain)
    if args.json:
        common.write_json({"records": [each.as_dict() for each in chain], "first_broken": broken})
    else:
        for each in chain:
            about = each.as_dict()
            common.write(f"{each.number} {_time(about['time'])} {len(about['items'])} deleted, hash {each.hash}\n")
        verdict = "the chain holds" if broken is None else f"record {broken} does not follow, or was changed"
        common.write(f"{len(chain)} records: {verdict}\n")
    return common.SUCCESS if broken is None else common.FAILURE


def show_stats(args: argparse.Namespace) -> int:
    """Print counts."""
    with _project(args) as (project, _):
        counts, owners = vars(project.memory.counts()), project.memory.owners()
    if args.json:
        common.write_json({"users": owners, **counts})
    else:
        common.write(
            f"users                {len(owners)}, with {sum(owners.values())} facts and documents\n"
            f"prompts              {counts['n_prompts']} asked, {counts['n_recalled']} got something\n"
            f"corrections          {counts['n_asked_examples']} asked, {counts['n_examples']} got some,"
            f" {counts['n_repeats']} asked the very question\n"
        )
    return common.SUCCESS


@contextmanager
def _memory(args: argparse.Namespace, embeds: bool = False) -> Iterator[Memory]:
    """The user's memory. `embeds`: with the embedding model of the settings."""
    from ..memory import Memory

    with _project(args) as (project, settings):
        memory = Memory(project, common.argument_text(args.user), embedder_of(settings) if embeds else None)
        if embeds:
            memory.index()  # of documents that were added without this model
        yield memory


@contextmanager
def _project(args: argparse.Namespace) -> Iterator[tuple[Project, Mapping[str, Setting]]]:
    settings = common.read_settings(args)
    with open_store(settings) as store:
        yield store.project(args.project), settings


def open_store(settings: Mapping[str, Setting]) -> Store:
    """The store of these settings. Raises an error where there is none."""
    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which memory needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    url = store_url(settings)
    if url is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: memory is kept in a store")
    return Store.open(url)


def embedder_of(settings: Mapping[str, Setting]) -> Embedder | None:
    """The embedding model of the settings."""
    from ..engine.model import Model
    from ..memory import ModelEmbedder

    path = settings["memory.embedding"].value
    return ModelEmbedder(Model.load(path)) if path else None


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 3] + "..."


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
