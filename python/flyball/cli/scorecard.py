"""`flyball scorecard`: may this small model stay, or is a bigger one needed? Checked by program, with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..engine.receipt import Receipt
from ..errors import InvalidArgument
from ..paths import expanded
from . import common

if TYPE_CHECKING:
    from ..scorecard.card import Card
    from ..scorecard.difference import Difference
    from ..scorecard.subjects import Subject


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "scorecard",
        help="may a small model stay, or is a bigger one needed",
        description=__doc__,
        epilog="Exit codes: 0 keep small, 1 another verdict, 2 undecided or error. With --diff: 0 nothing is worse, 1"
        " something is, 2 error.",
        parents=[common.JSON],
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL|URL",
        help="GGUF file, or the address of a server with OpenAI's interface (default: the bundled demonstration model)",
    )
    parser.add_argument("--model", dest="name", metavar="NAME", help="which model of the server")
    parser.add_argument("--key-env", metavar="NAME", help="environment variable with the server's API key")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="answers to each check (default: 3)")
    parser.add_argument("--out", metavar="FILE.json", help="write the card with all answers")
    parser.add_argument("--receipts", metavar="DIR", help="write the receipt of each answer; flyball verify reads them")
    parser.add_argument("--markdown", action="store_true", help="print Markdown instead of text")
    parser.add_argument("--diff", nargs=2, metavar=("A.json", "B.json"), help="compare two cards instead")
    common.add_flags(parser, common.MODEL_FLAGS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make a card and print it, or compare two."""
    from ..evidence import stats
    from ..scorecard.card import Card

    stats.scipy("special")  # before anything is computed
    if args.diff:
        if args.model or args.out or args.receipts or args.markdown:
            raise InvalidArgument("--diff", "compares two files: leave out the model, --out, --receipts and --markdown")
        return _compare(Card.load(args.diff[0]), Card.load(args.diff[1]), args.json)
    if not 1 <= args.seeds <= 100:
        raise InvalidArgument("--seeds", f"is {args.seeds}, must be from 1 to 100")
    if args.json and args.markdown:
        raise InvalidArgument("--json", "and --markdown cannot be given together")
    card = _of_server(args) if (args.model or "").startswith(("http://", "https://")) else _of_model(args)
    if args.out:
        card.save(args.out)
    _show(card, args)
    sizes = {"keep small": common.SUCCESS, "undecided": common.ERROR}
    return sizes.get(card.decision.size, common.FAILURE)


def _of_model(args: argparse.Namespace) -> Card:
    from ..scorecard.subjects import LocalModel

    for flag, value in (("--model", args.name), ("--key-env", args.key_env)):
        if value is not None:
            raise InvalidArgument(flag, "is for a server; give its address, such as http://127.0.0.1:8080/v1")
    settings = common.read_settings(args)
    progress = common.Progress()
    with common.open_model(settings, progress) as model:
        model.fingerprint(progress)
        return _card(LocalModel(model), args, progress)


def _of_server(args: argparse.Namespace) -> Card:
    from ..scorecard.openai_server import OpenAIServer

    loading = ("isa", "threads", "decode_threads", "context", "cache_type", "prefix_cache_mb", "config")
    given = [name for name in loading if vars(args)[name] is not None] + ["set"] * bool(args.set)
    if given:
        raise InvalidArgument(given[0], "is set for a model that this command loads; the server has its own settings")
    return _card(OpenAIServer(args.model, args.name or "", common.key_of(args.key_env)), args, common.Progress())


def _card(subject: Subject, args: argparse.Namespace, progress: common.Progress) -> Card:
    from ..scorecard.checks import all_checks
    from ..scorecard.run import run as make

    try:
        return make(subject, all_checks(), args.seeds, __version__, progress, _keeper(args.receipts))
    finally:
        progress.clear()


def _keeper(folder: str | None) -> Callable[[str, Receipt], object]:
    if folder is None:
        return lambda *_: None
    place = Path(expanded(folder))
    return lambda name, receipt: receipt.save(place / f"{name}.json")


def _show(card: Card, args: argparse.Namespace) -> None:
    from ..scorecard.text import as_markdown, as_text

    if args.json:
        common.write_json(card.as_dict())
    else:
        common.write(as_markdown(card) if args.markdown else as_text(card))


def _compare(a: Card, b: Card, json: bool) -> int:
    from ..scorecard.difference import difference

    found = difference(a, b)
    if json:
        common.write_json(found.as_dict())
    else:
        _show_difference(found)
    return common.FAILURE if found.worse else common.SUCCESS


def _show_difference(found: Difference) -> None:
    rows = [["", "BEFORE", "AFTER", "BEYOND CHANCE"]]
    rows += [[change.name, change.before, change.after, change.direction or "-"] for change in found.changes]
    common.write_table(rows)
    for what, names in (("gained", found.gained), ("lost", found.lost)):
        if names:
            common.write(f"{what}: {common.printable(', '.join(names))}\n")
    for what, names in (("not asked any more", found.vanished), ("asked only in the second", found.added)):
        if names:
            common.write(f"{what}: {len(names)} checks, {common.printable(', '.join(names[:5]))}\n")
    common.write(f"{found.n_equal} of {found.n_both} answers have the same digest\n")
