"""`flyball bench speed`: prefill and decode, counted in cycles, one row per thread count."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from .. import _core
from ..engine.model import demo_model_path
from ..errors import InvalidArgument
from . import common

if TYPE_CHECKING:
    from ..bench.speed import Part, Row


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action."""
    parser = actions.add_parser(
        "speed", help="measure prefill and decode", description=__doc__, parents=[common.MODEL, common.JSON]
    )
    parser.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens of the prompt (default: 512)")
    parser.add_argument("--gen", type=int, default=128, metavar="N", help="tokens to decode (default: 128)")
    parser.add_argument("--depth", type=int, default=0, metavar="N", help="tokens in the cache before decoding starts")
    parser.add_argument("--threads", metavar="N,N", help="thread counts to measure (default: one thread per processor)")
    parser.add_argument("--isa", default="auto", metavar="NAME", help="instruction set (default: the best)")
    parser.add_argument(
        "--cache-type", default="f16", metavar="TYPE", help="type of cached keys and values: f16, f32, q8_0"
    )
    parser.add_argument("--batch", type=int, default=192, metavar="N", help="prompt tokens per transformer call")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="measurements per thread count (default: 5)")
    parser.add_argument("--sequences", type=int, default=1, metavar="N", help="also decode N sequences at once")
    parser.add_argument(
        "--breakdown", action="store_true", help="show where the time goes and how close it is to the hardware's limits"
    )
    parser.add_argument("--no-bandwidth", action="store_true", help="skip the memory bandwidth measurement")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure every thread count and print one row for each."""
    from ..bench.speed import Plan, machine, measure

    for name, least in (("prompt", 1), ("gen", 1), ("depth", 0), ("repeat", 1), ("batch", 1), ("sequences", 1)):
        if getattr(args, name) < least:
            raise InvalidArgument(f"--{name}", f"is {getattr(args, name)}, must be at least {least}")
    plan = Plan(
        model=args.model or str(demo_model_path()),
        prompt=args.prompt,
        gen=args.gen,
        depth=args.depth,
        isa=args.isa,
        cache_type=args.cache_type,
        batch=args.batch,
        repeat=args.repeat,
        sequences=args.sequences,
        breakdown=args.breakdown,
        bandwidth=not args.no_bandwidth,
    )
    rows = [measure(plan, threads, common.Progress()) for threads in _thread_counts(args.threads)]
    if args.json:
        common.write_json({"schema_version": 1, "model": plan.model, "rows": [asdict(row) for row in rows]} | machine())
    else:
        _show(rows)
    return common.SUCCESS


def _thread_counts(text: str | None) -> list[int]:
    if text is None:
        return [_core.n_processors()]
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= 1024 for word in words):
        raise InvalidArgument("--threads", f"is {text!r}, must be comma-separated numbers from 1 to 1024")
    return [int(word) for word in words]


def _show(rows: list[Row]) -> None:
    header = [
        "ISA",
        "THREADS",
        "PREFILL TOK/S",
        "DECODE TOK/S",
        "PREFILL CYC/TOK",
        "DECODE CYC/TOK",
        "LOAD MS",
        "RSS MB",
    ]
    table: list[list[str]] = [[*header, "OF MEMORY BANDWIDTH"]]
    for row in rows:
        share = "not measured" if row.read_bandwidth_gb_s is None else "fits in the cache"
        if row.decode_bandwidth_share is not None:
            share = f"{100 * row.decode_bandwidth_share:.0f} % of {row.read_bandwidth_gb_s:.1f} GB/s"
        numbers = (row.prefill_cycles_per_token, row.decode_cycles_per_token, row.load_ms, row.rss_mb)
        speeds = [f"{row.prefill_tok_s:,.1f}", f"{row.decode_tok_s:,.1f}"]
        table.append([row.isa, str(row.threads), *speeds, *(common.rate(n) for n in numbers), share])
    common.write_table(table, right=range(1, 8))
    for row in rows:
        if row.sequences_tok_s is not None:
            rate, gain = row.sequences_tok_s, row.sequences_tok_s / row.decode_tok_s
            common.write(f"\n{row.sequences} sequences, {row.threads} threads: {rate:,.1f} tok/s, {gain:.2f} x one\n")
        if row.breakdown is not None:
            common.write(f"\nWhere the time goes, {row.threads} threads, {row.isa}:\n")
            _show_breakdown(row.breakdown)


def _show_breakdown(parts: list[Part]) -> None:
    table = [["PHASE", "PART", "CYCLES", "SHARE", "GB/S", "OF BANDWIDTH", "TOPS", "OF PEAK"]]
    for part in parts:
        percent = "-" if part.of_bandwidth is None else f"{100 * part.of_bandwidth:.0f} %"
        peak = "-" if part.of_peak is None else f"{100 * part.of_peak:.0f} %"
        rates = [common.rate(part.gb_s, 1), percent, common.rate(part.tops, 3), peak]
        table.append([part.phase, part.part, f"{part.cycles:,}", f"{100 * part.share:.1f} %", *rates])
    common.write_table(table, right=range(2, 8))
