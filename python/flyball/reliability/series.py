"""Costs over runs and their baseline: the one that was set manually, else the first runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..errors import InvalidArgument
from ..evidence.drift import LEAST_RUNS, Baseline, Drift, slow_down
from .results import Record

COSTS = ("prefill", "decode", "load")
_WINDOW = 200  # newest runs to evaluate


def costs(history: Sequence[Record], name: str) -> list[float]:
    """The costs of the runs that measured one."""
    found = (record.values("scenario").get("cost", {}).get(name) for record in history)
    return [cost for cost in found if cost]


def choose_baseline(history: Sequence[Record], n_runs: int) -> dict[str, Any]:
    """The baseline of the newest runs, as values of a manual action."""
    if n_runs < LEAST_RUNS:
        raise InvalidArgument("baseline", f"needs at least {LEAST_RUNS} runs, as fewer do not show the spread")
    chosen = {}
    for name in COSTS:
        values = costs(history, name)[-n_runs:]
        if len(values) < n_runs:
            raise InvalidArgument("baseline", f"needs {n_runs} runs of this machine and model, there are {len(values)}")
        chosen[name] = asdict(Baseline.of(values))
    return chosen


def judge(history: Sequence[Record], current: float, name: str, least_ratio: float) -> tuple[Drift | None, str]:
    """The drift of a cost and a description of its baseline; None while there are too few runs."""
    acts = [i for i, record in enumerate(history) if record.act and "baseline" in record.heal]
    if acts:
        act = history[acts[-1]]
        values = [*costs(history[acts[-1] :][-_WINDOW:], name), current]
        return slow_down(Baseline(**act.heal["baseline"][name]), values, least_ratio), f"the baseline of {act.run}"
    values = [*costs(history[-_WINDOW:], name), current]
    if len(values) <= LEAST_RUNS:
        return None, f"{len(values) - 1} runs of {LEAST_RUNS}"
    first = Baseline.of(values[:LEAST_RUNS])
    return slow_down(first, values[LEAST_RUNS:], least_ratio), f"the first {LEAST_RUNS} runs"
