"""`flyball learn`: from approved corrections to an adapter that has proved itself; and the week's report."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotFound
from ..files import state_folder
from . import common, feedback_examples

if TYPE_CHECKING:
    from ..learn.cycle import Said

_WEEK_MS = 7 * 86_400_000
_CODES = {"waiting": common.SUCCESS, "pass": common.SUCCESS, "fail": common.FAILURE, "undecided": common.ERROR}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("learn", help="a round of learning, and the week's report", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "build the data set, train, gate and promote, where something new was approved"
    one = actions.add_parser(
        "cycle", help=text, description=text, parents=[common.MODEL_FLAG, common.JSON],
        epilog="Exit codes: 0 passed, or nothing to do; 1 the gate refused; 2 undecided, or an error.",
    )  # fmt: skip
    one.add_argument("--least", type=int, default=10, metavar="N", help="examples needed to begin (default: 10)")
    one.add_argument(
        "--share", type=int, default=10, metavar="PERCENT", help="of the requests, as a canary; 0: all (default: 10)"
    )
    one.add_argument("--stays", metavar="FILE", help="questions whose answers must stay, beside those found good")
    one.add_argument("--kept", type=float, default=0.95, metavar="SHARE", help="of the answers that must stay")
    one.add_argument("--reviewed", action="append", default=[], metavar="ID", help="as of flyball adapters gate")
    one.set_defaults(run=cycle)
    text = "what a week taught"
    two = actions.add_parser("report", help=text, description=text, parents=[common.JSON])
    two.add_argument("--weeks", type=int, default=1, metavar="N", help="how many (default: 1)")
    two.set_defaults(run=report)
    for each in (one, two):
        feedback_examples.of_project(each)


def cycle(args: argparse.Namespace) -> int:
    """Run a round."""
    from ..learn import cycle as rounds

    folder = state_folder()
    if folder is None:
        raise NotFound("home folder", "is missing: a round keeps its files there")
    if not 0 <= args.share <= 50:
        raise InvalidArgument("--share", f"is {args.share}, must be from 0 to 50 percent")
    words = ["--project", args.project]
    words += [word for each in args.set or () for word in ("--set", each)]
    words += ["--config", args.config] if args.config else []
    plan = rounds.Plan(
        least=args.least,
        share=args.share,
        common=tuple(words),
        model=("--model", args.model) if args.model else (),
        stays=args.stays,
        gate=("--kept", str(args.kept), *(word for id in args.reviewed for word in ("--reviewed", id))),
    )
    with feedback_examples.opened(args) as (_, project):
        found = rounds.run(project, folder / "learn" / args.project, plan, _command, common.say_error)
    if args.json:
        common.write_json(vars(found) | {"report": None if found.report is None else str(found.report)})
    else:
        common.write(f"{found.state}: {found.message}\n")
        if found.report is not None:
            common.write(f"{found.report}\n")
    return _CODES[found.state]


def _command(words: Sequence[str]) -> Said:
    from ..learn.cycle import Said

    done = subprocess.run(
        [sys.executable, "-m", "flyball", *words, "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    said = (done.stderr.strip().splitlines() or [""])[-1]
    try:
        return Said(done.returncode, json.loads(done.stdout), said)
    except ValueError:
        return Said(done.returncode, None, said)


def report(args: argparse.Namespace) -> int:
    """Show what the last weeks taught."""
    if not 1 <= args.weeks <= 520:
        raise InvalidArgument("--weeks", f"is {args.weeks}, must be from 1 to 520")
    end = time.time_ns() // 1_000_000 + 1
    start = end - args.weeks * _WEEK_MS
    with feedback_examples.opened(args) as (_, project):
        votes = Counter(vote.verdict or "other" for vote in project.feedback.between(start, end))
        states = project.examples.counts()
        names = {row.digest: row.name for row in project.adapters.all()}
        events = [each for each in project.adapters.events() if each.created >= start]
    if args.json:
        told = [{"adapter": names[each.digest], "event": each.event, "reason": each.reason_id} for each in events]
        common.write_json({"since_ms": start, "feedback": votes, "examples": states, "adapters": told})
        return common.SUCCESS
    said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(votes.items())) or "none"
    kept = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in states.items())
    common.write_table([("feedback", said), ("examples", kept)])
    if events:
        common.write("\n")
        rows = [(_day(each.created), names[each.digest], each.event, each.reason_id) for each in events]
        common.write_table([("DAY", "ADAPTER", "EVENT", "REASON"), *rows])
    return common.SUCCESS


def _day(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(milliseconds / 1000))
