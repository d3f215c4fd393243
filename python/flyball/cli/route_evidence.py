"""`flyball route evidence`: how often routes are right, what floors are worth, and whether routing pays."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import common, route_inputs

if TYPE_CHECKING:
    from ..route.evidence import Accuracy, Bin, FloorRow
    from ..route.policies import Policies, Run

_FLOORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_SIZES = (50, 100, 200, 400, 800, 1600)
_SIMULATED, _SEEDS = 100, 20  # requests of each task, runs
_LANGUAGES = {"tr": "Turkish", "en": "English"}


def evidence(args: argparse.Namespace) -> int:
    """Accuracy on texts that were not seen, floors, and models beside the best single one and chance."""
    from ..route import evidence as evidences
    from ..route import policies

    with route_inputs.opened(args) as given:
        registry, intents = given.registry, given.intents
        curve = evidences.curve(intents, _SIZES) if args.curve else {}
    whole = evidences.accuracy(intents)
    languages = evidences.by_language(intents)
    bins = evidences.calibration(intents)
    floors = evidences.floor_table(intents, _FLOORS)
    models = {intent.task: intent.models for intent in registry.intents.values()}
    recorded = policies.recorded(given.history, models, registry.cost)
    simulated = policies.simulated(_SIMULATED, _SEEDS, registry.cost, registry.explore, registry.explored_share)
    if args.json:
        common.write_json(
            {
                "accuracy": whole.as_dict(),
                "languages": {name: found.as_dict() for name, found in languages.items()},
                "calibration": [each.as_dict() for each in bins],
                "floors": [vars(row) for row in floors],
                "suggested": intents.floors.suggested,
                "curve": {size: found.as_dict() for size, found in curve.items()},
                "recorded": None if recorded is None else recorded.as_dict(),
                "simulated": vars(simulated),
            }
        )
        return common.SUCCESS
    _write_accuracy(whole, {_LANGUAGES[name]: found for name, found in languages.items()})
    _write_curve(curve)
    _write_calibration(bins)
    _write_floors(floors, whole.n)
    common.write(route_inputs.suggestion(registry, intents.floors.suggested))
    _write_policies(simulated, recorded)
    return common.SUCCESS


def _write_accuracy(whole: Accuracy, languages: dict[str, Accuracy]) -> None:
    common.write("texts that were not seen, intervals (Wilson) at 95 %\n")
    table: list[Sequence[object]] = [("TEXTS", "N", "RIGHT", "INTERVAL")]
    table += [(name, found.n, *_shown(found)) for name, found in {"all": whole, **languages}.items()]
    common.write_table(table, right=(1, 2))


def _write_curve(curve: dict[int, Accuracy]) -> None:
    if curve:
        table: list[Sequence[object]] = [("EXAMPLES", "RIGHT", "INTERVAL")]
        table += [(size, *_shown(found)) for size, found in curve.items()]
        common.write("\n")
        common.write_table(table, right=(0, 1))


def _write_calibration(bins: list[Bin]) -> None:
    table: list[Sequence[object]] = [("PROBABILITY", "TEXTS", "SAID", "RIGHT", "INTERVAL")]
    table += [
        (f"{each.low:g} to {each.high:g}", each.right.n, f"{100 * each.said:.1f} %", *_shown(each.right))
        for each in bins
    ]
    common.write("\n")
    common.write_table(table, right=(1, 2, 3))


def _write_floors(rows: list[FloorRow], n: int) -> None:
    table: list[Sequence[object]] = [("FLOOR", "TAKEN", "SHARE", "WRONG", "AT MOST")]
    for row in rows:
        share, upper = f"{100 * row.n_accepted / n:.1f} %", f"{100 * row.upper:.1f} %"
        table.append((f"{row.floor:g}", row.n_accepted, share, row.n_wrong, upper))
    common.write("\n")
    common.write_table(table, right=(0, 1, 2, 3, 4))


def _write_policies(simulated: Run, recorded: Policies | None) -> None:
    common.write(f"\nsimulated: {_SEEDS} runs of {_SIMULATED} simple and {_SIMULATED} complex requests, all judged\n")
    table = [("POLICY", "GOOD", "MS")]
    table += [(name, f"{100 * simulated.good[name]:.1f} %", f"{simulated.ms[name]:.0f}") for name in simulated.good]
    common.write_table(table, right=(1, 2))
    if recorded is None:
        common.write("\nrecorded: nobody has rated an answer of two models yet\n")
        return
    common.write(
        f"\nrecorded, by what users said: routed {100 * recorded.routed:.1f} % good, all by {recorded.best_model}"
        f" {100 * recorded.best_single:.1f} %, by chance {100 * recorded.by_chance:.1f} %\n"
    )


def _shown(found: Accuracy) -> tuple[str, str]:
    return f"{100 * found.share:.1f} %", f"{100 * found.lower:.1f} to {100 * found.upper:.1f} %"
