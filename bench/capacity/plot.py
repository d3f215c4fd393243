"""Pictures of docs/scale.md, from a file of measurements."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flyball.errors import InvalidArgument
from flyball.scale.fleet import Fleet, fleet

from . import plan

_COLORS = ("#3465a4", "#c4630a", "#4e9a06", "#75507b", "#cc0000", "#2e8b8b", "#8f5902", "#555753", "#ad7fa8", "#000000")


def draw(args: argparse.Namespace) -> None:
    """All of them."""
    found = json.loads(args.result.read_text())
    given = plan.parts(found, args)
    _check(found["bundled"]["checks"], args.out / "scale-check.png")
    _fleets(given, args, args.out / "scale-fleet.png")
    _uses(given, args.out / "scale-bottlenecks.png")


def _figure(columns: int) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * columns, 3.9), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, out: Path) -> None:
    figure.savefig(out, dpi=110, metadata={"Software": None})


def _check(checks: Sequence[dict[str, Any]], out: Path) -> None:
    figure = _figure(3)
    titles = {"first_p50": "First token, median, ms", "first_p95": "First token, p95, ms", "goodput": "In time, 1/s"}
    for axis, (key, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        scale = 1 if key == "goodput" else 1e3
        for n in (1, 2):
            mine = [each for each in checks if each["replicas"] == n]
            rates = [each["rate"] for each in mine]
            for kind, style in (("measured", "o-"), ("predicted", "s--")):
                values = [scale * each[kind][key] for each in mine]
                label = f"{n} replica{'s' * (n > 1)}, {kind}"
                axis.plot(
                    rates, values, style, color=_COLORS[n - 1], alpha=1 if kind == "measured" else 0.55, label=label
                )
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("questions a second", fontsize=9)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    _save(figure, out)


def _growing(given: plan.Parts) -> Iterator[Fleet]:
    """Fleets of more and more users, until there is none."""
    users = 100.0
    while users <= 1e6:
        try:
            yield fleet(users, *given)
        except InvalidArgument:
            return
        users *= 1.05


def _fleets(given: plan.Parts, args: argparse.Namespace, out: Path) -> None:
    work, replica, edge, store, limits = given
    figure = _figure(2)
    left, right = figure.subplots(1, 2)
    rare = (work, replica, replace(edge, look_every=5.0, canary_every=600.0), store, limits)
    for color, (name, one) in zip(_COLORS, (("as it is", given), ("looks every 5 s", rare)), strict=False):
        fleets = list(_growing(one))
        for axis, values in ((left, [each.replicas for each in fleets]), (right, [each.edges for each in fleets])):
            axis.plot([each.users for each in fleets], values, color=color, label=name)
            axis.plot([fleets[-1].users], values[-1:], "x", color=color, markersize=9, markeredgewidth=2)
    most = plan.largest(given, args.cell)
    cells = [plan.in_cells(users, most, given) for users in plan.USERS]
    for axis, values in (
        (left, [n * each.replicas for each, n in cells]),
        (right, [n * each.edges for each, n in cells]),
    ):
        axis.plot(plan.USERS, values, "--", color=_COLORS[2], label=f"cells of {args.cell} replicas")
    for axis, title in ((left, "Replicas"), (right, "Edges")):
        axis.set_title(f"{title} (x: no fleet is enough beyond it)", fontsize=10)
        axis.set_xlabel("users", fontsize=9)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(alpha=0.3)
    left.legend(frameon=False, fontsize=9)
    _save(figure, out)


def _uses(given: plan.Parts, out: Path) -> None:
    figure = _figure(2)
    axis = figure.subplots()
    fleets = list(_growing(given))
    for color, name in zip(_COLORS, fleets[0].uses, strict=False):
        values = [100 * each.uses[name] for each in fleets]
        if max(values) > 1:
            axis.plot([each.replicas for each in fleets], values, color=color, label=name)
    axis.axhline(100, color="#555555", linewidth=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(1, None)
    axis.set_xlabel("replicas", fontsize=9)
    axis.set_title("Used of what is shared, % (at 100 it is full)", fontsize=10)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    _save(figure, out)


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the action."""
    parser = actions.add_parser("draw", help="write the pictures of docs/scale.md")
    parser.add_argument("result", type=Path)
    parser.add_argument("out", type=Path)
    plan.flags(parser)
    parser.set_defaults(run=draw)
