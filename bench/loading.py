"""Measure a whole process for one token: weights packed into memory, mapped from a packed copy, and llama.cpp.

    .venv/bin/python bench/loading.py MODEL.gguf [--threads 1,2] [--rounds 7] [--llama PYTHON]

PYTHON is an interpreter with llama-cpp-python. The programs run in turn in each round, in fresh processes, after two
runs that make the copy (in a folder that is removed at the end) and bring the files into the page cache.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

OURS = """
import sys, flyball
path, threads, use = sys.argv[1:]
with flyball.Model.load(path, threads=int(threads), packed_copy=use, context=512) as model:
    model.generate("Hello", max_tokens=1)
    assert bool(model.info.packed_copy) == (use == "on")
"""
LLAMA = """
import sys, llama_cpp
n = int(sys.argv[2])
model = llama_cpp.Llama(sys.argv[1], n_ctx=512, n_threads=n, n_threads_batch=n, verbose=False)
model.create_completion("Hello", max_tokens=1)
"""


def seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def show(name: str, taken: Sequence[float], others: Sequence[float]) -> None:
    ratios = [a / b for a, b in zip(taken, others, strict=True)]
    print(
        f"{name:32} {statistics.median(taken):6.2f} s, of the last {statistics.median(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--llama", metavar="PYTHON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as cache:
        environment = os.environ | {"XDG_CACHE_HOME": os.path.abspath(cache)}
        for threads in args.threads.split(","):
            programs = {
                "packed into memory": [sys.executable, "-c", OURS, args.model, threads, "off"],
                "mapped from a packed copy": [sys.executable, "-c", OURS, args.model, threads, "on"],
            }
            if args.llama:
                programs["llama.cpp"] = [args.llama, "-c", LLAMA, args.model, threads]
            for _ in range(2):
                for command in programs.values():
                    seconds(command, environment)
            taken: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(args.rounds):
                for name, command in programs.items():
                    taken[name].append(seconds(command, environment))
            print(f"{threads} thread{'s' * (threads != '1')}")
            for name, figures in taken.items():
                show(f"  {name}", figures, list(taken.values())[-1])


if __name__ == "__main__":
    main()
