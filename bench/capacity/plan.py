"""Fleets from a file of measurements: a table of users, and which resource is full at how many."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flyball.errors import InvalidArgument
from flyball.scale.capacity import Lengths, Limits, Replica, Workload, bearable
from flyball.scale.fleet import EdgeCosts, Fleet, StoreCosts, fills, fleet

USERS = (100, 1_000, 10_000, 100_000, 1_000_000)
_GIB, _BASE_BYTES = 1 << 30, 100 << 20  # beside weights, keys and values: Python and what it loads

Parts = tuple[Workload, Replica, EdgeCosts, StoreCosts, Limits]


def parts(found: Mapping[str, Any], args: argparse.Namespace) -> Parts:
    """The model's parts, as measured and as asked for."""
    costs, bundled = found["costs"], found["bundled"]["replicas"]["1"]
    given = found["large"]["replica"] if args.replica == "large" else bundled["replica"]
    replica = Replica(**given | {"steps": tuple(map(tuple, given["steps"]))})
    request = replica.request or bundled["replica"]["request"]  # the engine alone was measured
    # A question counts what the engine computes: 16 tokens beside what runs, at the least as one more of a step.
    n = min(8, replica.parallel)
    question = costs["question"] if args.replica != "large" else request + 16 * replica.step(n) / n
    replica = replace(
        replica, request=request, look=costs["replica_look"], question=question, base_bytes=_BASE_BYTES,
        price=args.replica_price, parallel=args.parallel,
    )  # fmt: skip
    edge = EdgeCosts(
        request=bundled["edge"]["request"], event=bundled["edge"]["event"], choose=costs["choice"]["1000"],
        look=costs["look"], look_every=args.look, price=args.edge_price,
    )  # fmt: skip
    # A replica stores some answers at a time; 20 are between one and the most.
    stored = costs["stores"].get("postgres", {}).get("20", {}).get("processor_seconds")
    store = StoreCosts(
        answers=args.store_processors / stored if stored else float("inf"), connections=args.connections,
        cache_operations=costs["redis_operations"] or float("inf"), price=args.store_price,
    )  # fmt: skip
    work = Workload(1 / args.every, Lengths(args.prompt, 1.0), Lengths(args.answer, 0.7), args.shared, args.again)
    return work, replica, edge, store, Limits(args.token_ms / 1e3, busy=args.busy)


def in_cells(users: float, cell: float, given: Parts) -> tuple[Fleet, int]:
    """A fleet that is parted into equal ones that share nothing, of at most `cell` users each."""
    n = max(1, -int(-users // cell))
    return fleet(users / n, *given), n


def largest(given: Parts, replicas: int) -> float:
    """Users of the largest fleet with at most so many replicas."""
    low, high = 1.0, 1e9
    while high / low > 1.005:
        middle = (low * high) ** 0.5
        try:
            low, high = (middle, high) if fleet(middle, *given).replicas <= replicas else (low, middle)
        except InvalidArgument:
            high = middle
    return low


def rows(users: tuple[float, ...], cell: int, given: Parts) -> Iterator[str]:
    """A Markdown table."""
    most = largest(given, cell)
    yield "| users | questions/s | cells | replicas | edges | memory, GiB | $ a month | $ for 1,000 questions |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for each in users:
        one, n = in_cells(each, most, given)
        month, asked = n * one.month, each * given[0].per_user
        yield (
            f"| {each:,.0f} | {asked:,.1f} | {n} | {n * one.replicas:,} | {n * one.edges:,} |"
            f" {n * one.memory_bytes / _GIB:,.0f} | {month:,.0f} | {1e3 * month / (asked * 730 * 3600):,.2f} |"
        )


def bottlenecks(given: Parts) -> Iterator[str]:
    """One fleet without cells: from how many users, and replicas, each shared resource is full."""
    order = []
    for name in fleet(1, *given).uses:
        full = fills(name, *given)
        order.append((full if full is not None else float("inf"), name))
    for full, name in sorted(order):
        if full == float("inf"):
            continue
        one = fleet(full, *given)
        yield f"| {name} | {full:,.0f} | {one.replicas:,} | {one.edges:,} |"
    end = largest(given, 10**9)
    one = fleet(end, *given)
    yield f"| no fleet is enough | {end:,.0f} | {one.replicas:,} | {one.edges:,} |"


def uses(given: Parts, sizes: tuple[int, ...]) -> Iterator[str]:
    """Of each shared resource, how much fleets of so many replicas use that have no cells, as far as there are any."""
    fleets = [fleet(largest(given, n), *given) for n in sizes]
    yield "| used | " + " | ".join(f"{each.replicas:,} replicas" for each in fleets) + " |"
    yield "|---|" + "---:|" * len(fleets)
    for name in sorted(fleets[-1].uses, key=lambda name: -fleets[-1].uses[name]):
        yield f"| {name} | " + " | ".join(f"{each.uses[name]:.1%}" for each in fleets) + " |"


def checks(found: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, and beside it by how much the simulator's prediction was off."""
    columns = [
        ("goodput", 1, 1), ("tokens_per_second", 1, 0), ("first_p50", 1e3, 0), ("first_p95", 1e3, 0),
        ("per_token_p50", 1e3, 2),
    ]  # fmt: skip
    yield "| replicas | questions/s | n | in time, 1/s | tokens/s | first token p50, ms | p95, ms | per token p50, ms |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for each in found["bundled"]["checks"]:
        measured, predicted = each["measured"], each["predicted"]
        cells = [
            f"{unit * measured[key]:,.{digits}f} ({predicted[key] / measured[key] - 1:+.0%})"
            for key, unit, digits in columns
        ]
        yield f"| {each['replicas']} | {each['rate']:.1f} | {each['requests']} | {' | '.join(cells)} |"


def show(args: argparse.Namespace) -> None:
    """Print it."""
    given = parts(json.loads(args.result.read_text()), args)
    work, replica, *_, limits = given
    each = bearable(replica, work, limits)
    print(f"a replica takes {each:.3f} questions/s, {each / work.per_user:.0f} users\n")
    print("\n".join(rows(tuple(args.users), args.cell, given)))
    print("\n| resource | full at users | replicas | edges |\n|---|---:|---:|---:|")
    print("\n".join(bottlenecks(given)))
    print("\n" + "\n".join(uses(given, (10, 100, 1000))))


def show_checks(args: argparse.Namespace) -> None:
    """Print them."""
    print("\n".join(checks(json.loads(args.result.read_text()))))


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    checking = actions.add_parser("check", help="how far the simulator was from what was measured")
    checking.add_argument("result", type=Path)
    checking.set_defaults(run=show_checks)
    parser = actions.add_parser("plan", help="compute fleets from a file of measurements")
    parser.add_argument("result", type=Path)
    flags(parser)
    parser.set_defaults(run=show)


def flags(parser: argparse.ArgumentParser) -> None:
    """What a fleet depends on."""
    number = parser.add_argument
    number("--users", type=float, nargs="+", default=list(USERS))
    number("--replica", choices=("large", "bundled"), default="large", help="which measured model")
    number("--every", type=float, default=600, help="seconds between two questions of a user in the busy hour")
    number("--prompt", type=float, default=400, help="tokens, mean")
    number("--answer", type=float, default=150, help="tokens, mean")
    number("--shared", type=float, default=0.7, help="share of a prompt that its conversation had before")
    number("--again", type=float, default=0.6, help="share of questions that continue a conversation")
    number("--token-ms", type=float, default=250, help="between two tokens, for 95 %% of the time")
    number("--busy", type=float, default=0.7, help="of a replica's time, at most")
    number("--parallel", type=int, default=64, help="serve.parallel")
    number("--look", type=float, default=0.5, help="seconds between an edge's looks at a replica")
    number("--cell", type=int, default=100, help="replicas of a cell, at most")
    number("--connections", type=int, default=500, help="of PostgreSQL")
    number("--store-processors", type=float, default=4, help="of PostgreSQL")
    number("--replica-price", type=float, default=0.08, help="dollars an hour")
    number("--edge-price", type=float, default=0.04, help="dollars an hour")
    number("--store-price", type=float, default=0.20, help="dollars an hour, of a cell")
