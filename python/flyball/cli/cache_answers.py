"""`flyball cache answers`: the answers that servers give again, in their store or in Redis."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotFound
from . import common
from .serve import store_url

if TYPE_CHECKING:
    from ..response_cache import Answers
    from ..store import CachedGroup, Store

_SHOWN = 12  # digits of a fingerprint


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    parser = actions.add_parser("answers", help="answers that servers give again", description=__doc__)
    inner = parser.add_subparsers(dest="inner", metavar="ACTION", required=True)
    listing = inner.add_parser("list", help="what is there, by project, model and adapter", parents=[common.JSON])
    purging = inner.add_parser("purge", help="delete answers", parents=[common.JSON])
    for each, run in ((listing, show), (purging, purge)):
        each.add_argument("--project", metavar="NAME", help="of this project alone")
        common.add_flags(each, [])
        each.set_defaults(run=run)
    for word in ("model", "adapter"):
        what = f"only of the {word} whose fingerprint begins so"
        purging.add_argument(f"--{word}", dest=f"of_{word}", default="", metavar="DIGITS", help=what)


def show(args: argparse.Namespace) -> int:
    """List what there is."""
    with _answers(args) as (answers, projects):
        found = [(name, group) for name in projects for group in answers.groups(name)]
    if args.json:
        common.write_json([{"project": name, **vars(group)} for name, group in found])
    elif found:
        rows = [("PROJECT", "MODEL", "ADAPTER", "ANSWERS", "SIZE", "LAST USED"), *(_row(*each) for each in found)]
        common.write_table(rows, right=[3, 4])
    else:
        common.write("There are no answers; flyball serve --set serve.response_cache=store keeps them.\n")
    return common.SUCCESS


def purge(args: argparse.Namespace) -> int:
    """Delete what is named; without names, all."""
    for name in ("of_model", "of_adapter"):
        if not re.fullmatch("[0-9a-f]{0,64}", digits := getattr(args, name).lower()):
            flag = name.replace("of_", "--")
            raise InvalidArgument(flag, f"is {digits!r}, must be the first hexadecimal digits of a fingerprint")
    with _answers(args) as (answers, projects):
        removed = {name: answers.purge(name, args.of_model.lower(), args.of_adapter.lower()) for name in projects}
    if args.json:
        common.write_json([{"project": name, "removed": n} for name, n in removed.items()])
    else:
        for name, n in removed.items():
            common.write(f"{common.printable(name)}: {n} removed\n")
    return common.SUCCESS


@contextmanager
def _answers(args: argparse.Namespace) -> Iterator[tuple[Answers, list[str]]]:
    """Where servers with these settings keep answers, and the projects. Without a cache: what is left in the store."""
    settings = common.read_settings(args)
    where = str(settings["serve.response_cache"].value)
    with _store(store_url(settings)) as store:
        from ..response_cache import OFF, STORE, open_answers

        answers = open_answers(STORE if where == OFF else where, store, 1, 1 << 20)
        assert answers is not None
        projects = store.projects()
        if args.project is not None:
            projects = [store.project(args.project).name]
        try:
            yield answers, projects
        finally:
            answers.close()


def _store(url: str | None) -> Store:
    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = (
            f"is missing, which the cache of answers needs: pip install 'flyball[serve]' (Python module {error.name})"
        )
        raise NotFound(str(error.name), what) from None
    if url is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: projects are known from a store")
    return Store.open(url)


def _row(project: str, group: CachedGroup) -> tuple[str, ...]:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(group.used / 1000)) if group.used else "-"
    adapter = group.adapter[:_SHOWN] or "-"
    size = common.size(group.n_bytes)
    return common.printable(project), group.fingerprint[:_SHOWN], adapter, f"{group.n_answers:,}", size, used
