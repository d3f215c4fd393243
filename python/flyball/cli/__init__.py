"""The command line: `flyball COMMAND`. Exit codes: 0 holds, 1 does not hold, 2 could not tell or wrong use."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import Error, VerificationError
from .common import CANNOT_TELL, FAILS, say_error

COMMANDS = ("run", "chat", "info", "models", "config", "verify", "journal", "replay", "bench", "image", "reliability")


def make_parser(wanted: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands: what the others import need not be waited for."""
    parser = argparse.ArgumentParser(
        prog="flyball",
        description="A local LLM runtime whose answers can be checked.",
        epilog="Exit codes: 0 holds, 1 does not hold, 2 could not tell or wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"flyball {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in wanted:
        importlib.import_module(f".{command}", __name__).add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An error is one line, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["bench"]:
        from .bench import current_form

        words[1:] = current_form(words[1:])
    asked = words[:1] if words and words[0] in COMMANDS else COMMANDS
    args = make_parser(asked).parse_args(words)
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
