"""`flyball cache`: packed copies of models, from which they start at once and run where memory cannot hold them; and
answers that servers give again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from ..engine.model import Model
from ..engine.packed_copies import PackedCopy, folder, packed_copies, remove
from ..errors import InvalidArgument
from . import cache_answers, common

_SHOWN = 12  # digits of a fingerprint


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("cache", help="packed copies of models, and cached answers", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is there, the oldest first", parents=[common.JSON])
    listing.set_defaults(run=show)
    adding = actions.add_parser("add", help="make copies of models")
    adding.add_argument("models", nargs="+", metavar="MODEL", help="GGUF files")
    common.add_flags(adding, [])
    adding.set_defaults(run=make)
    checking = actions.add_parser("verify", help="read every copy and check its bytes; exit code 1: one is broken")
    checking.set_defaults(run=verify)
    removing = actions.add_parser("remove", help="delete copies")
    removing.add_argument("copies", nargs="*", metavar="COPY", help="the first digits of their fingerprints")
    removing.add_argument("--all", action="store_true", help="every copy")
    removing.set_defaults(run=delete)
    cache_answers.add(actions)


def show(args: argparse.Namespace) -> int:
    """List the copies."""
    found = packed_copies()
    if args.json:
        common.write_json([{**vars(copy), "path": str(copy.path)} for copy in found])
    elif found:
        rows = [("COPY", "SIZE", "WRITTEN", "MODEL"), *map(_row, found)]
        common.write_table(rows, right=[1])
        common.write(f"{len(found)} in {folder()}, {common.size(sum(copy.n_bytes for copy in found))}\n")
    else:
        common.write("There are no packed copies; flyball cache add MODEL makes one.\n")
    return common.SUCCESS


def _row(copy: PackedCopy) -> Sequence[str]:
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(copy.written))
    what = copy.problem or common.printable(copy.model) or "-"
    return (copy.fingerprint[:_SHOWN] or copy.path.name, common.size(copy.n_bytes), written, what)


def make(args: argparse.Namespace) -> int:
    """Load each model once, so that it has a copy; one that can have none is a failure."""
    settings = common.read_settings(args)
    code = common.SUCCESS
    for path in args.models:
        progress = common.Progress()
        with Model.load(
            path, packed_copy="on", packed_copies_gb=settings["packed_copies_gb"].value, progress=progress
        ) as model:
            progress.clear()
            copy, problem = model.info.packed_copy, model.info.no_packed_copy
        if copy and not problem:  # one that has no name ends with its model
            common.write(f"{path}: {copy}\n")
        else:
            common.say_error(f"{path}: no copy was made: {problem or 'there is no cache folder (HOME is not set)'}")
            code = common.FAILURE
    return code


def verify(args: argparse.Namespace) -> int:
    """Check all copies."""
    broken = 0
    for copy in packed_copies():
        problem = copy.check()
        common.write(f"{copy.path.name[:_SHOWN]}  {problem or 'whole'}\n")
        broken += bool(problem)
    return common.FAILURE if broken else common.SUCCESS


def delete(args: argparse.Namespace) -> int:
    """Delete what is named."""
    found = packed_copies()
    if bool(args.copies) == args.all:
        raise InvalidArgument("cache remove", "takes the copies' first digits, or --all")
    for digits in args.copies:
        n = sum(copy.path.name.startswith(digits) for copy in found)
        if n != 1:
            raise InvalidArgument("cache remove", f"{digits!r} names {n or 'no'} copies; see flyball cache list")
    for copy in found:
        if args.all or any(copy.path.name.startswith(digits) for digits in args.copies):
            remove(copy)
            common.write(f"removed {copy.path.name}, {common.size(copy.n_bytes)}\n")
    return common.SUCCESS
