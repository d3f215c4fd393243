"""Measure how many arrivals a second the load generator keeps, and how late it is itself.

    .venv/bin/python -m bench.arrivals [--rates 250,500,1000,2000] [--seconds 20] [--kind page] [--loop ours]

Each rate runs against a server of its own that does nothing (bench.stub), so that lateness is the generator's. --loop
usual and uvloop take asyncio's own event loop, or uvloop's, in place of the load generator's. Times in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys

import uvloop

from flyball.load import driver, loop
from flyball.load.plan import Arrivals, ChatOptions, Flow, Limits, PageOptions, Plan, Stage
from flyball.load.quantiles import at
from flyball.load.record import Run

LOOPS = {"ours": loop.run, "usual": asyncio.run, "uvloop": uvloop.run}
KINDS: dict[str, PageOptions | ChatOptions] = {"page": PageOptions("/"), "chat": ChatOptions(("Hello",), 2, "", False)}


def measure(rate: float, args: argparse.Namespace) -> Run:
    """One rate, for some time."""
    stub = subprocess.Popen([sys.executable, "-m", "bench.stub"], stdout=subprocess.PIPE, text=True)
    try:
        assert stub.stdout is not None
        url = stub.stdout.readline().strip()
        load = Arrivals((Stage(rate, rate, args.seconds),), "poisson", 10_000)
        flow = Flow("it", KINDS[args.kind], load, Limits(), ())
        found: Run = LOOPS[args.loop](driver.run(Plan("", "", 1, "", "", 1, 30, 60, (flow,)), url))
        return found
    finally:
        stub.kill()
        stub.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="how late the load generator is")
    parser.add_argument("--rates", type=lambda text: [float(word) for word in text.split(",")], default=[500.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kind", choices=KINDS, default="page")
    parser.add_argument("--loop", choices=LOOPS, default="ours")
    args = parser.parse_args()
    for rate in args.rates:
        found = measure(rate, args)
        record = found.records[0]
        late, took = sorted(record.late_ms), sorted(record.iteration_ms)
        lates = ", ".join(f"p{100 * share:g} {at(late, share):.2f}" for share in (0.5, 0.95, 0.99))
        print(
            f"{rate:g}/s: {record.n_good} of {record.n_come} good; late {lates}, most {late[-1]:.2f};"
            f" took p50 {at(took, 0.5):.2f}, p99 {at(took, 0.99):.2f};"
            f" {100 * found.cpu_seconds / found.seconds:.0f} % of a processor",
            flush=True,
        )


if __name__ == "__main__":
    main()
