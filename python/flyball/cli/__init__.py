"""The command line: `flyball COMMAND`. Exit codes: 0 holds, 1 does not hold, 2 could not tell or wrong use."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import Error, VerificationError
from . import bench, chat, config, info, models, run, verify
from .common import CANNOT_TELL, FAILS, say_error

COMMANDS = (run, chat, info, models, config, verify, bench)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="flyball",
        description="A local LLM runtime whose answers can be checked.",
        epilog="Exit codes: 0 holds, 1 does not hold, 2 could not tell or wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"flyball {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An error is one line, never a traceback."""
    args = make_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except VerificationError as error:
        say_error(error)
        return FAILS
    except Error as error:
        say_error(error)
        return CANNOT_TELL
    except BrokenPipeError:  # the reader has seen enough; Python must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_TELL
    except KeyboardInterrupt:
        say_error("stopped")
        return CANNOT_TELL
    return code
