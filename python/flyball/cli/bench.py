"""`flyball bench`: speed, and the same cases run again, elsewhere or by another build, and compared."""

from __future__ import annotations

import argparse

from . import bench_pack, bench_speed, common

_ACTIONS = ("speed", "pack", "run", "compare")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="measure speed, compare builds", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    bench_speed.add(actions)
    bench_pack.add(actions)


def current_form(words: list[str]) -> list[str]:
    """The words after `bench`; what 0.1 had as `flyball bench [MODEL]` is read as `flyball bench speed [MODEL]`."""
    if words[:1] in (["-h"], ["--help"]) or (words and words[0] in _ACTIONS):
        return words
    common.say_error("`flyball bench` alone is the old form; from the next version on: flyball bench speed")
    return ["speed", *words]
