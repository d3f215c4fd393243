"""How many replicas and edges, how much memory and money a number of users needs; and the measurements behind it.

    .venv/bin/python -m bench.capacity measure OUT.json [--large MODEL.gguf] [--store NAME=URL] [--redis URL]
    .venv/bin/python -m bench.capacity plan RESULT.json [--users 50000] [--prompt 400] [--answer 150] ...
    .venv/bin/python -m bench.capacity check RESULT.json
    .venv/bin/python -m bench.capacity simulate RESULT.json [--sizes 10 100 1000]
    .venv/bin/python -m bench.capacity draw RESULT.json docs/images

`measure` starts its servers on this machine. A part that is not asked for (`--only`) keeps the figures of OUT.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bench.peers.machine import facts

from . import plan, plot, simulated

_PARTS = ("bundled", "large", "costs")


def measure(args: argparse.Namespace) -> None:
    """Measure what was asked for, and write it."""
    from . import costs
    from . import measure as measuring

    found: dict[str, Any] = json.loads(args.result.read_text()) if args.result.exists() else {"schema": 1}
    found |= {"date": time.strftime("%Y-%m-%d"), "machine": facts()}
    for part in args.only or _PARTS:
        if part == "bundled":
            found[part] = asyncio.run(measuring.bundled(args))
        elif part == "large" and args.large:
            found[part] = measuring.large(args.large, args.threads)
        elif part == "costs":
            found[part] = costs.all_costs(
                dict(word.split("=", 1) for word in args.store), args.store_process, args.redis
            )
    args.result.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    measuring = actions.add_parser("measure", help="measure on this machine")
    measuring.add_argument("result", type=Path)
    measuring.add_argument("--only", choices=_PARTS, action="append")
    measuring.add_argument("--seconds", type=float, default=8.0, help="of each checked load")
    measuring.add_argument("--seed", type=int, default=1)
    measuring.add_argument("--large", default="", metavar="MODEL.gguf")
    measuring.add_argument("--threads", type=int, default=2, help="of the larger model")
    measuring.add_argument("--store", action="append", default=[], metavar="NAME=URL")
    measuring.add_argument("--store-process", type=int, default=0, metavar="PID", help="the database's first process")
    measuring.add_argument("--redis", default="", metavar="URL")
    measuring.set_defaults(run=measure)
    for each in (plan, simulated, plot):
        each.add(actions)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
