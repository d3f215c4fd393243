"""Fleets of 10, 100 and 1,000 replicas in the simulator: what the closed form cannot say, percentiles and a death."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.stalls import at
from flyball.scale.capacity import bearable
from flyball.scale.simulate import Death, Simulation, Told, questions

from . import plan

_CACHE_BYTES = 1 << 30  # of earlier prompts (prefix_cache_mb of a server)


def show(args: argparse.Namespace) -> None:
    """Print a Markdown table."""
    given = plan.parts(json.loads(args.result.read_text()), args)
    print(
        "| replicas | edges | of what they take | questions | first token p50, p95, p99, s | per token p50, p95, ms |"
        " refused | went on | replicas busy |"
    )
    print("|---:|---:|---:|---:|---|---|---:|---:|---|")
    for n in args.sizes:
        for load in args.loads:
            print(row(n, load, given, args), flush=True)


def row(n: int, load: float, given: plan.Parts, args: argparse.Namespace) -> str:
    """One fleet at one load: after a while without being looked at, with a hundredth of its replicas killed."""
    work, replica, edge, _, limits = given
    rate = load * n * bearable(replica, work, limits)
    looking = n * edge.look / edge.look_every  # of each edge's time, which is missing for all else
    if looking >= edge.busy:
        raise SystemExit(f"looks at {n} replicas take {looking:.0%} of an edge: give --look more seconds")
    handing = edge.request + work.answer.mean * edge.event + n * edge.choose
    n_edges = math.ceil(rate * handing / (edge.busy - looking))
    slow = 1 / (1 - looking)
    costs = replace(edge, request=slow * edge.request, event=slow * edge.event, choose=slow * edge.choose)
    killed = [Death(args.seconds / 2, number, args.seconds / 2 + 20) for number in range(max(1, n // 100))]
    conversations = int(_CACHE_BYTES / (work.prompt.mean * replica.token_bytes)) if replica.token_bytes else 256
    simulation = Simulation([replica] * n, [costs] * n_edges, killed, conversations, args.seed)
    seen = simulation.run(questions(work, rate, args.seconds, args.seed))
    later = [each for each in seen.told if each.question.at > args.seconds / 3]
    done = [each for each in later if not each.refused]
    firsts, tokens = [each.first_token for each in done], [each.per_token for each in done]
    busy = [each / seen.seconds for each in seen.busy]
    return (
        f"| {n:,} | {n_edges} | {load:.0%} | {len(later):,} | {_ladder(firsts, (0.5, 0.95, 0.99), 1, 2)} |"
        f" {_ladder(tokens, (0.5, 0.95), 1e3, 0)} | {len(later) - len(done)} | {_continued(done)} |"
        f" {min(busy):.0%} to {max(busy):.0%} |"
    )


def _ladder(values: Sequence[float], shares: Sequence[float], scale: float, digits: int) -> str:
    return ", ".join(f"{scale * at(values, share):.{digits}f}" for share in shares)


def _continued(done: Sequence[Told]) -> int:
    return sum(each.n_replicas > 1 for each in done)


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action."""
    parser = actions.add_parser("simulate", help="simulate fleets of a file of measurements")
    parser.add_argument("result", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--loads", type=float, nargs="+", default=[1.0])
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--seed", type=int, default=1)
    plan.flags(parser)
    parser.set_defaults(run=show)
