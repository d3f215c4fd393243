"""bench/peers/run: see --help."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import build, files, machine, plot, process, report, results
from .cases import OURS, TESTS, Case, Lengths
from .options import FOLDER, PAGE, ROOT, Choice, WrongUse, choose, parse
from .programs import Flyball, Peer, Program
from .runner import Runner, Stopped

PICTURE = ROOT / "docs" / "images" / "performance.png"
_KNOWN = (build.BuildFailed, process.Failed, results.BadResults, report.NoPlace, WrongUse)


def main() -> int:
    """Exit code 0: everything was measured; 2: something is missing, or wrong use."""
    args = parse()
    try:
        if args.report:
            return write_report(args.report)
        return measure(choose(args), args)
    except _KNOWN as error:
        say(f"bench/peers: {error}")
    except Stopped:
        say(f"\nTime is over; the same command continues from {args.out}")
    except KeyboardInterrupt:
        say(f"\nInterrupted; the same command continues from {args.out}")
        return 130
    return 2


def say(text: str) -> None:
    """Print a line to standard error, as standard output is for the tables."""
    write(text + "\n")


def write(text: str) -> None:
    """As say(), for a part of a line."""
    print(text, end="", file=sys.stderr, flush=True)


def write_report(paths: Sequence[Path]) -> int:
    """Write the page, a part for each machine, and the same tables to standard output."""
    documents = [results.read(path) for path in paths]
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    plot.draw(documents, PICTURE)
    parts = [f"![How many times better]({PICTURE.relative_to(PAGE.parent)})"]
    for path, document in zip(paths, documents, strict=True):
        source = path.resolve()
        shown = source.relative_to(ROOT) if source.is_relative_to(ROOT) else source.name
        parts.append(f"{report.markdown(document)}\nAll single figures: `{shown}`.")
    report.rewrite(PAGE, "\n\n".join(parts))
    print("\n\n".join(parts[1:]))
    return 0


def measure(choice: Choice, args: argparse.Namespace) -> int:
    """Build the engines, write the model files, measure, and print the results."""
    if (load := os.getloadavg()[0]) > machine.QUIET_LOAD:
        say(f"Warning: this machine is busy (load {load:.1f}); figures will vary, and disturbed rounds are counted.")
    programs = {isa: contestants(isa, choice.peers[isa]) for isa in choice.isas}
    about = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.facts(),
        "programs": {name: version for isa in choice.isas for name, version in versions(isa, programs[isa]).items()},
        "lengths": asdict(Lengths()),
    }
    found = files.model_files(choice.models, choice.types, args.files, vocabularies, say)
    store = results.Results(args.out, about)
    measured = store.document.setdefault("bandwidth_gb_s", {})
    for threads in choice.threads:
        measured.setdefault(str(threads), round(machine.bandwidth(threads), 2))
    for file in found:
        store.file(f"{file.model} {file.type}", {"bytes": file.bytes, "fingerprint": file.fingerprint})
    cases = [
        Case(file, isa, threads, TESTS[test], Lengths().within(file.context))
        for isa in choice.isas
        for file in found
        for threads in choice.threads
        for test in choice.tests
    ]
    stop_at = time.monotonic() + args.stop_after if args.stop_after else float("inf")
    Runner(programs, store, choice.pairs, process.run, write, stop_at).run(cases)
    print(report.markdown(store.document), end="")
    say(f"Results: {args.out}")
    return 0


def vocabularies() -> Path:
    """The folder of vocabularies in llama.cpp's source."""
    return build.source(FOLDER, say) / "models"


def contestants(isa: str, peers: dict[str, Path]) -> list[Program]:
    """Flyball, llama.cpp, and the others as given."""
    ours = Flyball(Path(sys.executable).with_name("flyball"))
    others = [Peer(name, path, files.demo_model()) for name, path in peers.items()]
    if "llama.cpp" not in peers:
        program = build.llama_bench(FOLDER, isa, say)
        others.insert(0, Peer("llama.cpp", program, files.demo_model(), built=build.how(isa)))
    return [ours, *others]


def versions(isa: str, programs: list[Program]) -> dict[str, str]:
    """The versions of the measured programs: a commit, or the peer's own version text."""
    suffix = "" if isa == "auto" else f" ({isa})"
    return {program.name + suffix * (program.name != OURS): program.version() for program in programs}


if __name__ == "__main__":
    sys.exit(main())
