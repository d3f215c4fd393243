"""Metrics: the cost of tokens in the scenario, compared with the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...evidence.gates import Outcome, Verdict, failed, inconclusive, passed
from ...evidence.stats import summary
from .. import series
from ..context import Context
from ..results import Limits, StageResult

PHASES = ("prefill", "decode")


def run(context: Context) -> StageResult:
    """Summarize cycles per token of the scenario's answers, and judge the drift of the measured costs."""
    found = context.values("scenario")
    values: dict[str, Any] = {"cost": found.get("cost", {}), "limits": context.limits.effective("least_slow_down")}
    for phase in PHASES:
        about = summary(found.get(phase, []))
        values[phase] = about._asdict() if about else None
    verdict = _judge(context, values)
    if verdict.outcome is Outcome.PASS:
        verdict = _in_percent(verdict, context.limits, values)
    return StageResult("metrics", verdict, values)


def _judge(context: Context, values: dict[str, Any]) -> Verdict:
    drifts, baseline = {}, ""
    for phase in PHASES:
        if phase not in values["cost"]:
            return inconclusive("METRICS_INSUFFICIENT_DATA", "the scenario measured no costs")
        drift, baseline = series.judge(context.history, values["cost"][phase], phase, context.limits.least_slow_down)
        if drift is None:
            message = f"too few runs to detect a drift: {baseline}"
            return inconclusive("METRICS_INSUFFICIENT_DATA", message, "run again on this machine with this model")
        drifts[phase] = drift._asdict()
    values["drift"] = drifts
    ratios = ", ".join(f"{phase} costs {drift['ratio']:.2f}" for phase, drift in drifts.items())
    message = f"{ratios} times as much as {baseline}"
    if any(drift["slower"] for drift in drifts.values()):
        hint = "flyball bench compare can find the cause; flyball reliability baseline accepts the new cost"
        return failed("METRICS_SLOWER", f"{message}, statistically significant", hint, **drifts)
    return passed("METRICS_PASSED", message, **drifts)


def _in_percent(verdict: Verdict, limits: Limits, values: dict[str, Any]) -> Verdict:
    """The gate in percent, where a limits file has one: the change alone counts, with no test of chance."""
    asked = [name for name in ("warn_percent", "fail_percent") if name in limits.sources]
    values["limits"] += limits.effective(*asked)
    changes = {phase: 100 * (drift["ratio"] - 1) for phase, drift in values["drift"].items()}
    for name in reversed(asked):
        limit = getattr(limits, name)
        over = ", ".join(f"{phase} {change:+.1f} %" for phase, change in changes.items() if change >= limit)
        if over and name == "fail_percent":
            hint = "flyball bench compare can find the cause; fail_percent in the limits file is this gate"
            return failed("METRICS_OVER_LIMIT", f"{over}, the limit is {limit:g} %", hint, **verdict.evidence)
        if over:
            return replace(verdict, message=f"{verdict.message}; warning: {over}, from {limit:g} %")
    return verdict
