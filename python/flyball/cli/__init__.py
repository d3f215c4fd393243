"""The command line: `flyball COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from .. import __version__
from ..errors import Error, VerificationError
from .common import ERROR, FAILURE, say_error
from .renamed import current_words

COMMANDS = ("run", "chat", "info", "models", "config", "verify", "journal", "replay", "bench", "image", "reliability")


def make_parser(wanted: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands only, so that the imports of the others cost no time."""
    parser = argparse.ArgumentParser(
        prog="flyball",
        description="A local LLM runtime whose answers can be checked.",
        epilog="Exit codes: 0 success, 1 mismatch or failure, 2 error, inconclusive or wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"flyball {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in wanted:
        importlib.import_module(f".{command}", __name__).add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An error is one line, never a traceback."""
    words = current_words(list(sys.argv[1:] if argv is None else argv))
    warnings.showwarning = lambda message, *_: say_error(f"warning: {message}")
    asked = words[:1] if words and words[0] in COMMANDS else COMMANDS
    args = make_parser(asked).parse_args(words)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except VerificationError as error:
        say_error(error)
        return FAILURE
    except Error as error:
        say_error(error)
        return ERROR
    except BrokenPipeError:  # the reader closed the pipe; Python must not complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except KeyboardInterrupt:
        say_error("stopped")
        return ERROR
    return code
