"""Measure the cost of the fixed order of sums: this build beside one whose kernels may add in any order.

    make bench-exactness MODELS="a.gguf b.gguf" ARGS="--out FILE"
    .venv/bin/python -m bench.exactness --report FILE      # into docs/performance.md

Builds run in turn in fresh processes, and the order within a pair alternates. The cost is the other build's speed over
this one's, minus one: the median over the pairs, with the extremes in brackets.

schema_version 1: {schema_version, date, machine, build, threads, rows: [{model, test, costs}]}, costs in percent.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

import flyball

from .peers import machine, report, stats
from .peers.options import PAGE, ROOT
from .peers.process import Failed, run
from .peers.programs import Flyball

MARKS = ("<!-- exactness: written by bench/exactness.py --report -->", "<!-- end of exactness -->")
TESTS = {  # positions needed, arguments of `flyball bench speed`, its figure
    "prefill 512": (513, ["--prompt", "512", "--gen", "1"], "prefill_tok_s"),
    "decode 64 after 128": (192, ["--prompt", "1", "--depth", "128", "--gen", "64"], "decode_tok_s"),
    "decode 32 after 2048": (2080, ["--prompt", "1", "--depth", "2048", "--gen", "32"], "decode_tok_s"),
}


class Build:
    """A build: the environment's own package, or one in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(folder)} if folder else None
        # -S: without the environment's packages, which include the other build.
        self._python = [sys.executable, "-S"] if folder else [sys.executable]

    def run(self, *words: str) -> str:
        command = [*self._python, "-m", "flyball", *words]
        return run(command, environment=self._environment).stdout

    def digest(self, model: str) -> str:
        words = ["-p", "Once upon a time", "-n", "32", "--temp", "0", "--ignore-eos", "--json", "--no-receipt"]
        return str(json.loads(self.run("run", model, *words))["digest"])

    def rate(self, model: str, words: list[str], figure: str, threads: int) -> float:
        common = ["--threads", str(threads), "--repeat", "1", "--no-bandwidth", "--json"]
        return float(json.loads(self.run("bench", "speed", model, *words, *common))["rows"][0][figure])


def measure(args: argparse.Namespace) -> None:
    """Measure all rows; print each one, and write it if --out is given."""
    rows: list[dict[str, Any]] = []
    document = {
        "schema_version": 1,
        "date": datetime.date.today().isoformat(),
        "machine": machine.facts(),
        "build": Flyball(Path(sys.executable).with_name("flyball")).version(),
        "threads": args.threads,
        "rows": rows,
    }
    exact, free = Build(), Build(args.free)
    for model in args.models or [str(flyball.demo_model_path())]:
        context = flyball.Model.load(model, vocab_only=True).info.context_length
        if exact.digest(model) == free.digest(model):
            sys.exit(f"{model}: both builds give the same bits, so the other one keeps the order too")
        for test, (positions, words, figure) in TESTS.items():
            if positions > context:
                continue
            costs = []
            for pair in range(args.pairs):
                builds = [exact, free] if pair % 2 == 0 else [free, exact]
                rates = {build: build.rate(model, words, figure, args.threads) for build in builds}
                costs.append(100 * (rates[free] / rates[exact] - 1))
            rows.append({"model": Path(model).name, "test": test, "costs": costs})
            print(line(rows[-1]), flush=True)
            if args.out:
                args.out.write_text(json.dumps(document, indent=1) + "\n")


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    cost = stats.spread(row["costs"])
    return f"| {row['model']} | {row['test']} | {cost.median:+.1f} % ({cost.low:+.1f} to {cost.high:+.1f}) |"


def write_page(path: Path) -> None:
    """Write the table into docs/performance.md."""
    document = json.loads(path.read_text())
    n_pairs, threads = len(document["rows"][0]["costs"]), report.threads_of(document["threads"])
    where = f"{document['date']}, {document['machine']['processor']}, {threads}"
    about = f"{where}, {n_pairs} pairs a row, flyball {document['build']}:"
    table = ["| model | test | faster with the order freed |", "| --- | --- | ---: |", *map(line, document["rows"])]
    source = path.resolve().relative_to(ROOT)
    report.rewrite(PAGE, "\n\n".join([about, "\n".join(table), f"All single figures: `{source}`."]), MARKS)


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of exactness")
    parser.add_argument("free", type=Path, nargs="?", help="folder of the package with unordered sums")
    parser.add_argument("models", nargs="*", help="GGUF files (default: the bundled model)")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for all measurements")
    parser.add_argument("--report", type=Path, help="only write such a file's table into the page")
    args = parser.parse_args()
    if args.report:
        write_page(args.report)
    elif args.free:
        try:
            measure(args)
        except Failed as error:
            sys.exit(f"bench/exactness: {error}")
    else:
        parser.error("a folder or --report is needed")


if __name__ == "__main__":
    main()
