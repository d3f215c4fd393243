"""Metrics: what tokens cost in the scenario, and whether they cost more than in the baseline."""

from __future__ import annotations

from typing import Any

from ...evidence.gates import Verdict, failed, inconclusive, passed
from ...evidence.stats import summary
from .. import series
from ..context import Context
from ..results import StageResult

PHASES = ("prefill", "decode")


def run(context: Context) -> StageResult:
    """Cycles per token over the scenario's answers, and the drift of the measured costs."""
    found = context.values("scenario")
    values: dict[str, Any] = {"cost": found.get("cost", {}), "limits": context.limits.effective("least_slow_down")}
    for phase in PHASES:
        about = summary(found.get(phase, []))
        values[phase] = about._asdict() if about else None
    return StageResult("metrics", _judge(context, values), values)


def _judge(context: Context, values: dict[str, Any]) -> Verdict:
    drifts, baseline = {}, ""
    for phase in PHASES:
        if phase not in values["cost"]:
            return inconclusive("METRICS_INSUFFICIENT_DATA", "the scenario measured no costs")
        drift, baseline = series.judge(context.history, values["cost"][phase], phase, context.limits.least_slow_down)
        if drift is None:
            told = f"too few runs to see a drift: {baseline}"
            return inconclusive("METRICS_INSUFFICIENT_DATA", told, "runs on this machine and model add up")
        drifts[phase] = drift._asdict()
    values["drift"] = drifts
    told = ", ".join(f"{phase} at {drift['ratio']:.2f}" for phase, drift in drifts.items()) + f" of {baseline}"
    if any(drift["slower"] for drift in drifts.values()):
        hint = "flyball bench compare says which change did it; flyball reliability baseline accepts it"
        return failed("METRICS_SLOWER", f"{told}, beyond chance", hint, **drifts)
    return passed("METRICS_PASSED", told, **drifts)
