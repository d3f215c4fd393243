"""`flyball evidence`: service levels, pilot, load, scorecard and receipts of a model on this machine, on one page."""

from __future__ import annotations

import argparse
import os
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotFound
from ..evidence.gates import Outcome
from ..paths import expanded
from . import common
from .load import ended_by_sigterm
from .terminal import is_terminal

if TYPE_CHECKING:
    from ..round.plan import Round, Sizes

_OUT = "artifacts/evidence"
_MOST_MINUTES = 24 * 60
_CODES = {Outcome.PASS: common.SUCCESS, Outcome.FAIL: common.FAILURE, Outcome.INCONCLUSIVE: common.ERROR}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evidence",
        help="judge a model on this machine, on one page",
        description=__doc__,
        epilog="Exit codes: 0 every part passes, 1 one fails, 2 one is undecided, or an error.",
        parents=[common.MODEL, common.JSON],
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--minutes", type=int, default=10, metavar="N", help="how much to measure (default: 10)")
    size.add_argument("--quick", action="store_true", help="a minute, of every part as little as can be")
    parser.add_argument("--slo", metavar="FILE", help="service levels (default: slo.toml here, if there is one)")
    parser.add_argument("--out", default=_OUT, metavar="DIR", help=f"folder of all rounds (default: {_OUT})")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a round, write its page, and show it."""
    try:
        from ..round import pages
        from ..round import run as rounds
    except ModuleNotFoundError as error:
        what = f"is missing, which a round needs: pip install 'flyball[serve,reliability]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    of = _round(args)
    started, begin = time.time(), time.monotonic()
    line = _Line()
    with ended_by_sigterm():
        found = rounds.run(of, line)
    line.clear()
    document = pages.collect(of, found, started, time.monotonic() - begin)
    page = pages.write(of, document)
    if args.json:
        common.write_json(document | {"page": str(page)})
    else:
        common.write_table(
            [("PART", "VERDICT", "WHY"), *((p["title"], p["said"], p["why"]) for p in document["parts"])]
        )
        common.write(f"\n{document['label']}; {page}\n")
    if not (args.no_browser or args.json):
        _show(page)
    return _CODES[Outcome(document["outcome"])]


def _round(args: argparse.Namespace) -> Round:
    from ..round.plan import Round
    from ..slo import targets

    if args.slo:
        targets.load(args.slo)  # what is wrong with it is told now
    if args.model and not Path(expanded(args.model)).is_file():
        raise NotFound(args.model, "does not exist")
    sizes = _sizes(args)
    place = Path(expanded(args.out))
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    folder, number = place / name, 1
    while folder.exists():
        number += 1
        folder = place / f"{name}-{number}"
    folder.mkdir(parents=True)
    return Round(folder, sizes, args.model or "", args.slo or "")


def _sizes(args: argparse.Namespace) -> Sizes:
    from ..round.plan import QUICK, Sizes

    if not 1 <= args.minutes <= _MOST_MINUTES:
        raise InvalidArgument("--minutes", f"is {args.minutes}, must be from 1 to {_MOST_MINUTES}")
    return QUICK if args.quick else Sizes.of(args.minutes)


class _Line:
    """The progress: a line that changes on a terminal, else a line for each command."""

    def __init__(self) -> None:
        self._watched = is_terminal(sys.stderr)
        self._title = ""

    def __call__(self, title: str, passed: float, left: float) -> None:
        from ..round.pages import duration

        if self._watched:
            common.write_error(f"\r{title:14} {duration(passed):>6}, about {duration(left)} left   ")
        elif title != self._title:
            common.write_error(f"{title:14} about {duration(left)} left\n")
        self._title = title

    def clear(self) -> None:
        """Take the line away."""
        if self._watched:
            common.write_error("\r" + " " * 50 + "\r")


def _show(page: Path) -> None:
    """In a browser, where there is a display; the path was printed in any case."""
    if sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        with suppress(webbrowser.Error):
            webbrowser.open(page.absolute().as_uri())
