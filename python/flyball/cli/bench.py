"""`flyball bench`: measure speed; run the same cases on another machine or build and compare the results."""

from __future__ import annotations

import argparse

from . import bench_pack, bench_scenario, bench_speed


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="measure speed, compare builds", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    bench_speed.add(actions)
    bench_pack.add(actions)
    bench_scenario.add(actions)
