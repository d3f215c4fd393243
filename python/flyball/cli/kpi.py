"""`flyball kpi`: the records of the pilot and the alerts of load runs as a weekly page, and a text to paste."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import files
from ..errors import InvalidArgument
from ..paths import expanded
from . import common
from .load import ALERTS
from .pilot import FOLDER


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("kpi", help="the weekly page of the pilot", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    one = actions.add_parser("digest", help="join records of the pilot and load alerts", parents=[common.JSON])
    one.add_argument("folders", nargs="*", metavar="DIR", help=f"folders of the records (default: {FOLDER})")
    one.add_argument("--weeks", type=int, default=8, metavar="N", help="weeks of each line (default: 8)")
    one.add_argument("--alerts", default=ALERTS, metavar="FILE", help=f"alerts of flyball load (default: {ALERTS})")
    one.add_argument("--out", metavar="FILE.md", help="write the page instead of printing it")
    one.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from ..pilot import digest, load_alerts

    if args.weeks < 1:
        raise InvalidArgument("--weeks", f"is {args.weeks}, must be at least 1")
    records = digest.read_all([Path(expanded(name)) for name in args.folders or [FOLDER]])
    alerts = load_alerts.read(Path(expanded(args.alerts)))
    page = digest.markdown(records, args.weeks, alerts)
    if args.out:
        files.write(args.out, page)
    if args.json:
        common.write_json(digest.as_dict(records, alerts))
    else:
        common.write(digest.to_paste(records, alerts) if args.out else page)
    return common.SUCCESS
