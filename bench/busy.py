"""Measure decode on a quiet machine and beside a busy process, and the cost of an idle model.

    .venv/bin/python bench/busy.py [MODEL.gguf] [--threads 1,2] [--gen 400] [--rounds 5]

All cases are measured in turn in each round; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time

import flyball


def decode_rate(model: flyball.Model, n_tokens: int) -> float:
    metrics = model.generate("Once upon a time", n_tokens, ignore_eos=True, speculate="off").metrics
    return metrics.decode.tokens / metrics.decode.seconds


def idle_cpu_seconds() -> float:
    """Processor time of all threads in the second after an answer."""
    before = time.process_time()
    time.sleep(1)
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description="decode on a quiet and on a busy machine")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--gen", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    counts = [int(n) for n in args.threads.split(",")]
    models = {n: flyball.Model.load(args.model, threads=n) for n in counts}
    rates: dict[tuple[int, bool], list[float]] = {(n, busy): [] for n in counts for busy in (False, True)}
    idle: dict[int, list[float]] = {n: [] for n in counts}
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as hog:
        try:
            time.sleep(0.5)
            for _ in range(args.rounds):
                for busy in (False, True):
                    os.kill(hog.pid, signal.SIGCONT if busy else signal.SIGSTOP)
                    time.sleep(0.1)
                    for n, model in models.items():
                        rates[n, busy].append(decode_rate(model, args.gen))
                        if not busy:
                            idle[n].append(idle_cpu_seconds())
        finally:
            hog.kill()

    one = statistics.median(rates[counts[0], False])
    print(f"{'THREADS':>7} {'QUIET TOK/S':>11} {'OF FIRST':>8} {'BUSY TOK/S':>10} {'OF QUIET':>8} {'IDLE MS/S':>9}")
    for n in counts:
        quiet, busy_rate = statistics.median(rates[n, False]), statistics.median(rates[n, True])
        cost = 1e3 * statistics.median(idle[n])
        print(f"{n:>7} {quiet:>11.1f} {quiet / one:>8.2f} {busy_rate:>10.1f} {busy_rate / quiet:>8.2f} {cost:>9.2f}")


if __name__ == "__main__":
    main()
