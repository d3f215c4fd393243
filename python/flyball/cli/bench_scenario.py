"""`flyball bench list|scenario`: the named scenarios with their service levels, and runs of them."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.model import Model, demo_model_path
from ..errors import InvalidArgument
from . import common

if TYPE_CHECKING:
    from ..slo.scenarios import Scenario
    from ..slo.targets import Levels

FOLDER = "artifacts/bench"


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    parser = actions.add_parser("list", help="list the scenarios", parents=[common.JSON])
    parser.add_argument("--slo", metavar="FILE", help="service levels (default: slo.toml here, if there is one)")
    parser.set_defaults(run=show)
    parser = actions.add_parser("scenario", help="run scenarios", parents=[common.MODEL_FLAG, common.JSON])
    parser.add_argument("name", nargs="?", metavar="NAME", help="scenario; flyball bench list shows them")
    parser.add_argument("--all", action="store_true", help="all scenarios")
    parser.add_argument("--iter", type=int, default=30, metavar="N", help="iterations that count (default: 30)")
    parser.add_argument("--warmup", type=int, default=5, metavar="N", help="iterations before them (default: 5)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="compute threads (0: one per processor)")
    parser.add_argument(
        "--cache",
        choices=("off", "prefix", "response"),
        default="off",
        help="compare a cache of prefixes or of answers with none, and write cache_savings.md (default: off)",
    )
    parser.add_argument("--slo", metavar="FILE", help="service levels (default: slo.toml here, if there is one)")
    parser.add_argument("--out", default=FOLDER, metavar="DIR", help=f"folder of the results (default: {FOLDER})")
    parser.set_defaults(run=run)


def show(args: argparse.Namespace) -> int:
    """List the scenarios with their targets."""
    from dataclasses import asdict

    from ..slo.scenarios import SCENARIOS
    from ..slo.targets import load

    levels = load(args.slo)
    if args.json:
        rows = [{"name": n, "about": s.about, "targets": asdict(levels.targets[n])} for n, s in SCENARIOS.items()]
        common.write_json({"schema_version": 1, "scenarios": rows})
        return common.SUCCESS
    table = [["SCENARIO", "P50 MS", "P95 MS", "FIRST MS", "TOK/S", "MB", "WHAT IT IS"]]
    for name, scenario in SCENARIOS.items():
        table.append([name, *(f"{value:,g}" for value in asdict(levels.targets[name]).values()), scenario.about])
    common.write_table(table, right=range(1, 6))
    return common.SUCCESS


def run(args: argparse.Namespace) -> int:
    """Run one scenario or all of them, and write a file of results."""
    from ..slo import cache, responses
    from ..slo.scenarios import SCENARIOS, named
    from ..slo.targets import load

    if args.all == bool(args.name):
        raise InvalidArgument("scenario", "is not chosen: give one name of flyball bench list, or --all")
    for name, least, most in (("iter", 1, 10_000), ("warmup", 0, 1_000), ("threads", 0, 1024)):
        if not least <= getattr(args, name) <= most:
            raise InvalidArgument(f"--{name}", f"is {getattr(args, name)}, must be from {least} to {most}")
    wanted = list(SCENARIOS.values()) if args.all else [named(args.name)]
    levels, folder = load(args.slo), Path(args.out).expanduser()
    path = args.model or demo_model_path()
    progress = common.Progress()
    with Model.load(path, threads=args.threads, prefix_cache_mb=0) as model:
        if args.cache == "off":
            return _measure(args, model, wanted, levels, folder, progress)
        if args.cache == "response":
            found = [responses.compare(model, scenario, args.iter, progress) for scenario in wanted]
        else:
            with Model.load(path, threads=args.threads) as cached:
                found = [cache.compare(model, cached, scenario, args.iter, progress) for scenario in wanted]
        cache.write(folder, found, model.info.name, args.cache)
    if args.json:
        common.write_json({"schema_version": 1, "cache": args.cache, "scenarios": [cache.as_dict(o) for o in found]})
    else:
        common.write(cache.markdown(found, model.info.name, args.cache))
        common.write(f"\n{folder / cache.FILES[0]}, {folder / cache.FILES[1]}\n")
    return common.SUCCESS


def _measure(
    args: argparse.Namespace,
    model: Model,
    wanted: list[Scenario],
    levels: Levels,
    folder: Path,
    progress: common.Progress,
) -> int:
    from ..slo import record
    from ..slo.run import measure

    measured = [measure(model, scenario, args.iter, args.warmup, progress) for scenario in wanted]
    path, document = record.write(folder, model, measured, args.iter, args.warmup, time.time())
    if args.json:
        common.write_json(document | {"file": str(path)})
        return common.SUCCESS
    from ..slo.history import percentile

    table = [["SCENARIO", "P50 MS", "P95 MS", "OF", "FIRST MS", "TOK/S", "MB", "DIGEST"]]
    for name, case in record.read(path).cases.items():
        targets = levels.targets[name]
        speed = percentile(case.tokens_per_second, "p50")
        table.append(
            [
                name,
                f"{percentile(case.ms, 'p50'):,.1f}",
                f"{percentile(case.ms, 'p95'):,.1f}",
                f"{targets.latency_p95_ms:,g}",
                f"{percentile(case.first_token_ms, 'p95'):,.1f}",
                f"{speed:,.1f}",
                f"{max(case.peak_memory_mb):,.0f}",
                case.digest[:12],
            ]
        )
    common.write_table(table, right=range(1, 7))
    common.write(f"{path}\n")
    return common.SUCCESS
