"""What the fixed order of sums costs: this build beside one whose kernels are free to add in any order.

    make bench-exactness MODELS="a.gguf b.gguf"

Fresh processes take turns, and the order within a pair alternates. The cost is the other build's speed over this one's,
less one: the median over the pairs, with the extremes in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import flyball

TESTS = {  # positions needed, arguments of `flyball bench`, its figure
    "prefill 512": (513, ["--prompt", "512", "--gen", "1"], "prefill_tok_s"),
    "decode 64 after 128": (192, ["--prompt", "1", "--depth", "128", "--gen", "64"], "decode_tok_s"),
    "decode 32 after 2048": (2080, ["--prompt", "1", "--depth", "2048", "--gen", "32"], "decode_tok_s"),
}


class Build:
    """The environment's own package, or one in a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(folder)} if folder else None
        # -S: without the environment's packages, of which one is the other build.
        self._python = [sys.executable, "-S"] if folder else [sys.executable]

    def run(self, *words: str) -> str:
        command = [*self._python, "-m", "flyball", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"flyball {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def digest(self, model: str) -> str:
        words = ["-p", "Once upon a time", "-n", "32", "--temp", "0", "--ignore-eos", "--json", "--no-receipt"]
        return str(json.loads(self.run("run", model, *words))["digest"])

    def rate(self, model: str, words: list[str], figure: str) -> float:
        common = ["--threads", "1", "--repeat", "1", "--no-bandwidth", "--json"]
        return float(json.loads(self.run("bench", model, *words, *common))["rows"][0][figure])


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of exactness")
    parser.add_argument("free", type=Path, help="folder of the package whose sums have no order")
    parser.add_argument("models", nargs="*", help="GGUF files (default: the bundled model)")
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    exact, free = Build(), Build(args.free)
    for model in args.models or [str(flyball.demo_model_path())]:
        context = flyball.Model.load(model, vocab_only=True).info.context_length
        if exact.digest(model) == free.digest(model):
            sys.exit(f"{model}: both builds give the same bits, so the other's order is not free")
        for name, (positions, words, figure) in TESTS.items():
            if positions > context:
                continue
            costs = []
            for pair in range(args.pairs):
                builds = [exact, free] if pair % 2 == 0 else [free, exact]
                rates = {build: build.rate(model, words, figure) for build in builds}
                costs.append(100 * (rates[free] / rates[exact] - 1))
            spread = f"({min(costs):+.1f} to {max(costs):+.1f})"
            print(f"{Path(model).name:28} {name:22} {statistics.median(costs):+5.1f} % {spread}", flush=True)


if __name__ == "__main__":
    main()
