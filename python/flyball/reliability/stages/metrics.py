"""Metrics: the cost of tokens in the scenario, and their instructions where they are counted, against the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...evidence.gates import Outcome, Verdict, failed
from ...evidence.stats import summary
from .. import series
from ..context import Context
from ..results import Limits, StageResult

PHASES = ("prefill", "decode")


def run(context: Context) -> StageResult:
    """Summarize cycles per token of the scenario's answers, and judge the measured costs."""
    found = context.values("scenario")
    values: dict[str, Any] = {
        **{name: found.get(name, {}) for name in ("cost", "noise", "contention", "instructions")},
        "limits": context.limits.effective("least_slow_down", "visible_slow_down", "bench_counters"),
    }
    for phase in PHASES:
        about = summary(found.get(phase, []))
        values[phase] = about._asdict() if about else None
    verdict = series.verdict(context, "METRICS", PHASES, values)
    verdict = _grown(context, values) or verdict
    if verdict.outcome is Outcome.PASS:
        verdict = _in_percent(verdict, context.limits, values)
    return StageResult("metrics", verdict, values)


def _grown(context: Context, values: dict[str, Any]) -> Verdict | None:
    """A failure if an exact count grew; no load disturbs it, so that one run suffices."""
    first = series.first_instructions(context.history)
    if first is None:
        return None
    run, before = first
    now = series.instructions(context.values("scenario"))
    values["grown"] = {phase: now[phase] / before[phase] for phase in PHASES if phase in now and phase in before}
    for phase, ratio in values["grown"].items():
        if ratio > context.limits.bench_counters:
            message = f"{phase} takes {now[phase]:,} instructions, {ratio:.3f} times those of {run}, by an exact count"
            return failed("METRICS_SLOWER", message, series.HINT, instructions=now, before=before, run=run)
    return None


def _in_percent(verdict: Verdict, limits: Limits, values: dict[str, Any]) -> Verdict:
    """The gate in percent, where a limits file has one: the change alone counts, with no test of chance."""
    asked = [name for name in ("warn_percent", "fail_percent") if name in limits.sources]
    values["limits"] += limits.effective(*asked)
    changes = {phase: 100 * (drift["run"] - 1) for phase, drift in values["drift"].items()}
    for name in reversed(asked):
        limit = getattr(limits, name)
        over = ", ".join(f"{phase} {change:+.1f} %" for phase, change in changes.items() if change >= limit)
        if over and name == "fail_percent":
            hint = "flyball bench compare can find the cause; fail_percent in the limits file is this gate"
            return failed("METRICS_OVER_LIMIT", f"{over}, the limit is {limit:g} %", hint, **verdict.evidence)
        if over:
            return replace(verdict, message=f"{verdict.message}; warning: {over}, from {limit:g} %")
    return verdict
