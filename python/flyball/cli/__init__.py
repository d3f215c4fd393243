"""The command line: `flyball COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext

from .. import __version__
from ..errors import Error
from . import perf, streams
from .common import ERROR, say_error
from .renamed import current_words

COMMANDS = (
    "run",
    "chat",
    "serve",
    "edge",
    "keys",
    "project",
    "adapters",
    "route",
    "feedback",
    "train",
    "learn",
    "memory",
    "plugins",
    "pull",
    "info",
    "models",
    "cache",
    "config",
    "verify",
    "journal",
    "audit",
    "replay",
    "bench",
    "slo",
    "load",
    "scorecard",
    "pilot",
    "kpi",
    "evidence",
    "image",
    "reliability",
)


def make_parser(wanted: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands only, so that the imports of the others cost no time."""
    parser = argparse.ArgumentParser(
        prog="flyball",
        description="A local LLM runtime whose answers can be checked.",
        epilog="Exit codes: 0 success, 1 mismatch or failure, 2 error, inconclusive or wrong use.",
    )
    parser.add_argument("--version", action="version", version=f"flyball {__version__}")
    parser.add_argument(perf.FLAG, action="store_true", help="after any command: print what it took (standard error)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in wanted:
        importlib.import_module(f".{command}", __name__).add(commands)
    return parser


def _parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """The arguments; a prompt after a flag is one as well, for which argparse has stopped looking then."""
    args, rest = parser.parse_known_args(words)
    if rest and "words" in args and not any(word.startswith("-") for word in rest):
        args.words += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code. An error is one line, and never has a verdict's code."""
    try:
        streams.prepare()
        code = _run(list(sys.argv[1:] if argv is None else argv))
        streams.flush()
        return code
    except Error as error:
        say_error(error)
    except BrokenPipeError:
        pass  # the reader has what it wanted
    except KeyboardInterrupt:
        say_error("stopped")
    except MemoryError:
        say_error("out of memory")
    except OSError as error:
        say_error(f"{error.filename or 'system'}: {error.strerror or error}")
    except Exception as error:
        if sys.flags.dev_mode:
            traceback.print_exc()
        say_error(f"internal error, {type(error).__name__}: {error}; python -X dev -m flyball shows where: report it")
    streams.give_up()
    return ERROR


def _run(words: list[str]) -> int:
    warnings.showwarning = lambda message, *_: say_error(f"warning: {message}")
    for kind in (RuntimeWarning, FutureWarning):  # messages for the user, whatever Python was told of its own
        warnings.filterwarnings("default", category=kind, module=r"flyball\b")
    words, measured = perf.taken(words)
    words = current_words(words)
    asked = words[:1] if words and words[0] in COMMANDS else COMMANDS
    try:
        args = _parse(make_parser(asked), words)
    except SystemExit:
        streams.flush()  # the text of --help
        raise
    with perf.footer() if measured else nullcontext():
        code: int = args.run(args)
    return code
