"""Measure decode on a quiet machine and beside busy processes, and the cost of an idle model.

    .venv/bin/python bench/busy.py [MODEL.gguf] [--threads 1,2] [--strangers 1,4] [--gen 400] [--seconds 1] [--rounds 5]

All cases are measured in turn in each round; figures are medians over the rounds. The fair share of n threads beside
b busy processes on p processors is p / (n + b) of what n processors give, at most all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time

import flyball


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def decode_rate(model: flyball.Model, n_tokens: int, at_least: float) -> float:
    """Tokens per second over whole answers, together many of a scheduler's time slices."""
    tokens = 0
    seconds = 0.0
    while seconds < at_least:
        decode = model.generate("Once upon a time", n_tokens, ignore_eos=True, speculate="off").metrics.decode
        tokens += decode.tokens
        seconds += decode.seconds
    return tokens / seconds


def idle_cpu_seconds() -> float:
    """Processor time of all threads in the second after an answer."""
    before = time.process_time()
    time.sleep(1)
    return time.process_time() - before


def fair_share(threads: int, strangers: int) -> float:
    return min(1.0, len(os.sched_getaffinity(0)) / (threads + strangers))


def main() -> None:
    parser = argparse.ArgumentParser(description="decode on a quiet and on a busy machine")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--strangers", type=numbers, default=[1, 4], help="busy processes")
    parser.add_argument("--gen", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, at least")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    models = {n: flyball.Model.load(args.model, threads=n) for n in args.threads}
    rates: dict[tuple[int, int], list[float]] = {(n, b): [] for n in args.threads for b in (0, *args.strangers)}
    idle: dict[int, list[float]] = {n: [] for n in args.threads}
    with contextlib.ExitStack() as running:
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(max(args.strangers))]
        for hog in hogs:
            running.callback(hog.kill)
        time.sleep(0.5)
        for _ in range(args.rounds):
            for strangers in (0, *args.strangers):
                for i, hog in enumerate(hogs):
                    os.kill(hog.pid, signal.SIGCONT if i < strangers else signal.SIGSTOP)
                time.sleep(0.1)
                for n, model in models.items():
                    rates[n, strangers].append(decode_rate(model, args.gen, args.seconds))
                    if strangers == 0:
                        idle[n].append(idle_cpu_seconds())

    print(f"{'THREADS':>7} {'STRANGERS':>9} {'TOK/S':>9} {'LOW':>9} {'HIGH':>9} {'OF FAIR SHARE':>13} {'IDLE MS/S':>9}")
    for (n, strangers), measured in rates.items():
        rate, quiet = statistics.median(measured), statistics.median(rates[n, 0])
        of_share = rate / (quiet * fair_share(n, strangers))
        cost = f"{1e3 * statistics.median(idle[n]):9.2f}" if strangers == 0 else ""
        print(f"{n:>7} {strangers:>9} {rate:9.1f} {min(measured):9.1f} {max(measured):9.1f} {of_share:13.2f} {cost}")


if __name__ == "__main__":
    main()
