"""The command line of bench/peers/run, and its defaults."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import build, files
from .cases import TESTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "build" / "peers"


class WrongUse(Exception):
    """An invalid option."""


@dataclass(frozen=True)
class Choice:
    """The validated options."""

    models: list[str]
    types: list[str]
    threads: list[int]
    tests: list[str]
    isas: list[str]
    pairs: int
    peers: dict[str, dict[str, Path]]  # by instruction set: name -> llama-bench


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The parser of the command line."""
    p = argparse.ArgumentParser(
        prog="bench/peers/run",
        description="Measure Flyball beside llama.cpp and programs compatible with its llama-bench: same file, same "
        "threads, same lengths, in interleaved rounds of fresh processes.",
    )
    n = os.cpu_count() or 1
    shapes = ", ".join((files.BUNDLED, *files.SHAPES))
    p.add_argument("--quick", action="store_true", help="about 10 minutes: two models, one type, 3 rounds")
    p.add_argument("--models", metavar="A,B", help=f"of {shapes}; or paths of GGUF files (default: all that run)")
    p.add_argument(
        "--types", metavar="A,B", help=f"of {', '.join(files.TYPES)}, for the shapes that have them (default: all)"
    )
    p.add_argument("--threads", metavar="N,N", help=f"thread counts (default: 1 and all processors, here {n})")
    p.add_argument("--tests", metavar="A,B", help=f"of {', '.join(TESTS)} (default: all)")
    p.add_argument(
        "--isa", metavar="A,B", help=f"of {', '.join(build.FLAGS)} (default: auto); llama.cpp is built for the same"
    )
    p.add_argument("--pairs", type=int, metavar="N", help="rounds per case (default: 7)")
    p.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME[@ISA]=PATH",
        help="llama-bench of another engine, with its llama-batched-bench beside it if there is one; may be repeated. "
        "The name llama.cpp replaces our build of it. ISA: the instruction set of the build (default: auto)",
    )
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=FOLDER / "results.json",
        help="result file; an existing one is continued (default: build/peers/results.json)",
    )
    p.add_argument(
        "--files",
        type=Path,
        metavar="FOLDER",
        default=FOLDER / "models",
        help="folder of the shapes' files, which are written if missing (default: build/peers/models)",
    )
    p.add_argument("--stop-after", type=float, metavar="SECONDS", help="start no measurement after this time")
    p.add_argument(
        "--report",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="only write docs/performance.md from results, a machine each",
    )
    return p.parse_args(argv)


def choose(args: argparse.Namespace) -> Choice:
    """Validate the arguments and fill in the defaults."""
    n = os.cpu_count() or 1
    quick: bool = args.quick
    threads = _words("threads", args.threads, [str(n)] if quick or n == 1 else ["1", str(n)])
    if not all(word.isdecimal() and 1 <= int(word) <= n for word in threads):
        raise WrongUse(f"--threads: {args.threads!r} must be comma-separated numbers from 1 to {n}")
    pairs: int = (3 if quick else 7) if args.pairs is None else args.pairs
    if pairs < 1:
        raise WrongUse(f"--pairs: is {pairs}, must be at least 1")
    isas = _words("isa", args.isa, ["auto"], build.FLAGS)
    return Choice(
        models=_words(
            "models",
            args.models,
            [files.BUNDLED, *(["llama-1b"] if quick else [] if args.models else files.runnable_shapes())],
        ),
        types=_words("types", args.types, ["Q4_K_M"] if quick else list(files.TYPES), files.TYPES),
        threads=[int(word) for word in threads],
        tests=_words("tests", args.tests, list(TESTS), TESTS),
        isas=isas,
        pairs=pairs,
        peers=_peers(args.peer, isas),
    )


def _words(option: str, text: str | None, default: list[str], allowed: Collection[str] = ()) -> list[str]:
    found = default if text is None else text.split(",")
    for word in found:
        if allowed and word not in allowed:
            raise WrongUse(f"--{option}: {word!r} must be one of {', '.join(allowed)}")
    return list(dict.fromkeys(found))


def _peers(words: Sequence[str], isas: Sequence[str]) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {isa: {} for isa in isas}
    for word in words:
        who, _, path = word.partition("=")
        name, _, isa = who.partition("@")
        isa = isa or "auto"
        if not name or name == "flyball" or isa not in build.FLAGS:
            raise WrongUse(f"--peer: {word!r} must be NAME=PATH or NAME@ISA=PATH, ISA of {', '.join(build.FLAGS)}")
        if not os.access(path, os.X_OK) or not Path(path).is_file():
            raise WrongUse(f"--peer: {path!r} is not a program")
        if isa in found:
            found[isa][name] = Path(path).absolute()
    return found
