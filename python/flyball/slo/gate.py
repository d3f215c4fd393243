"""The gate: targets by bounds of shares, and p95 against the history by the CUSUM of flyball.evidence.drift.

A raw quotient of two p95 fails builds that did not change: 36 % of them, measured. Here a change counts only if the
history shows that it is none of its own noise; what cannot be known is inconclusive.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evidence import stats
from ..evidence.drift import MOST_RUNS, STEP, Baseline, Cost, Drift, drift, learn
from ..evidence.gates import Outcome, Verdict, failed, inconclusive, passed
from ..evidence.limits import MISSES
from ..reliability.series import percent
from .history import Entry, Line, percentile
from .record import Case
from .targets import Levels, Targets

_FAIL, _PASS = 0.99, 0.95  # confidence of the bounds
_MOST_POOLED = 10  # runs of one build whose iterations count for a target
_ALARM = 10.0  # of the CUSUM; with two runs in a row, both tests of a scenario have the false alarms that one may have
_HIDDEN = STEP  # runs that show no slow-down below this are no evidence at all
# Metric: samples of a case, the percentile that is shown, and the share of the samples that may miss the target.
_SHARES: dict[str, tuple[Callable[[Case], Sequence[float]], str, float]] = {
    "latency_p50_ms": (lambda case: case.ms, "p50", 0.5),
    "latency_p95_ms": (lambda case: case.ms, "p95", MISSES),
    "first_token_ms": (lambda case: case.first_token_ms, "p95", MISSES),
    "tokens_per_second": (lambda case: case.tokens_per_second, "p50", 0.5),
}
_COSTS: dict[str, tuple[str, Callable[[Entry], Cost]]] = {  # whose p95 it is, and what is compared with the history
    "regression": ("latency", lambda entry: entry.cost),
    "first_token_regression": ("first tokens", lambda entry: entry.first_token_cost),
}
METRICS = (*_SHARES, "peak_memory_mb", *_COSTS)


@dataclass(frozen=True)
class Finding:
    """A verdict on one metric of a scenario. `value`, `target`: in the metric's unit; `runs`: files of its numbers."""

    scenario: str
    metric: str
    verdict: Verdict
    value: float | None = None
    target: float | None = None
    runs: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        numbers = {"value": self.value, "target": self.target, "runs": list(self.runs)}
        return {"scenario": self.scenario, "metric": self.metric} | numbers | {"verdict": self.verdict.as_dict()}


def judge(found: Mapping[str, Line], levels: Levels) -> list[Finding]:
    """All findings, scenario by scenario."""
    findings = []
    for name in levels.scenarios:
        if name not in found:
            hint = f"flyball bench scenario {name}"
            verdict = inconclusive("BENCH_INSUFFICIENT_DATA", "has no run on this machine with this model", hint)
            findings.append(Finding(name, "latency_p95_ms", verdict))
        else:
            findings += [*_of_targets(found[name], levels.targets[name]), *regressions(found[name], levels)]
    return findings


def label(outcome: Outcome) -> str:
    """For people; JSON has the name that all gates share."""
    return "undecided" if outcome is Outcome.INCONCLUSIVE else str(outcome)


def counts(findings: Sequence[Finding]) -> str:
    """How many verdicts there are of each kind."""
    n = Counter(finding.verdict.outcome for finding in findings)
    return f"{n[Outcome.PASS]} pass, {n[Outcome.FAIL]} fail, {n[Outcome.INCONCLUSIVE]} undecided"


def overall(findings: Sequence[Finding]) -> Outcome:
    """Fail if one fails, else inconclusive if one is."""
    outcomes = {finding.verdict.outcome for finding in findings}
    return next((o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASS)


# ---------------------------------------------------------------- targets


def _of_targets(line: Line, targets: Targets) -> list[Finding]:
    entries = line.of_build[-_MOST_POOLED:]
    findings = []
    for metric, (samples, which, may_miss) in _SHARES.items():
        target = getattr(targets, metric)
        pooled = [value for entry in entries for value in samples(entry.case)]
        missed = sum(value < target if metric == "tokens_per_second" else value > target for value in pooled)
        verdict = share_verdict(missed, len(pooled), may_miss)
        value = percentile(pooled, which)
        findings.append(Finding(line.scenario, metric, verdict, value, target, _files(entries)))
    peak = max(line.newest.case.peak_memory_mb)
    told = f"{peak:,.0f} MB of {targets.peak_memory_mb:,.0f}"
    over = peak > targets.peak_memory_mb
    verdict = failed("BENCH_OVER_LIMIT", f"needs {told}") if over else passed("BENCH_PASSED", f"needs {told}")
    made = Finding(line.scenario, "peak_memory_mb", verdict, peak, targets.peak_memory_mb, _files([line.newest]))
    return [*findings, made]


def share_verdict(missed: int, n: int, may_miss: float) -> Verdict:
    """Whether at most this share of all iterations misses a target, from `missed` of `n`."""
    low, _ = stats.share_bounds(missed, n, _FAIL)
    _, high = stats.share_bounds(missed, n, _PASS)
    told = f"{missed} of {n} iterations miss it, {100 * may_miss:.0f} % may"
    evidence = {"missed": missed, "n": n, "at_least": low, "at_most": high, "may_miss": may_miss}
    if low > may_miss:
        return failed("BENCH_OVER_LIMIT", told, "a change of the target belongs into slo.toml", **evidence)
    if high <= may_miss:
        return passed("BENCH_PASSED", told, **evidence)
    need = math.ceil(math.log(1 - _PASS) / math.log(1 - may_miss))
    hint = f"run again: {need} iterations of this build without a miss decide"
    return inconclusive("BENCH_WATCH", f"{told}: too few to tell", hint, **evidence)


# ---------------------------------------------------------------- regression of p95


def regressions(line: Line, levels: Levels) -> list[Finding]:
    """Whether p95 of the latency, and of the first tokens, grew against the first runs of the line."""
    return [_regression(line, levels, metric) for metric in _COSTS]


def _regression(line: Line, levels: Levels, metric: str) -> Finding:
    what, cost = _COSTS[metric]
    verdict = regression_verdict([cost(entry) for entry in line.entries], levels.regression, levels.least_ratio, what)
    if verdict.reason_id == "BENCH_INSUFFICIENT_DATA" and line.n_other:
        why = f"{line.n_other} earlier runs have another machine, model, answer or number of iterations"
        evidence = verdict.evidence | {"other_runs": line.n_other}
        verdict = inconclusive(verdict.reason_id, f"{verdict.message}; {why}", verdict.hint, **evidence)
    ratio = verdict.evidence.get("drift", {}).get("window")
    return Finding(line.scenario, metric, verdict, ratio, levels.regression, _files(line.entries))


def regression_verdict(costs: Sequence[Cost], wanted: float, least_ratio: float, what: str = "latency") -> Verdict:
    """The verdict on the newest of a line's costs. `wanted`: the ratio that must show; `least_ratio`: that is none."""
    baseline, earlier = learned(costs[:-1])
    if baseline is None or baseline.n < MOST_RUNS:
        n = baseline.n if baseline else "less than 3"
        message = f"the baseline of p95 of the {what} has {n} of the {MOST_RUNS} runs it needs"
        return inconclusive("BENCH_INSUFFICIENT_DATA", message, "run the scenario again", n=len(costs))
    return against(baseline, earlier, costs[-1], wanted, least_ratio)


def against(baseline: Baseline, earlier: Sequence[Cost], now: Cost, wanted: float, least_ratio: float) -> Verdict:
    """The verdict on `now`, after those `earlier` since the baseline."""
    # With the wider limit a run counts for the sum however noisy the baseline is: the sum is in its own spreads.
    # And the noisier it is, the more must the newest runs' median show, which errs as much.
    limits = max(least_ratio, baseline.visible**0.75), max(wanted, _HIDDEN)
    found = _drift(baseline, earlier, now, *limits)
    evidence = {"drift": found._asdict(), "baseline": {"n": baseline.n, "spread": baseline.spread}}
    told = (
        f"newest {found.n_window} runs: {found.window:.3f} times the first {baseline.n}, CUSUM {found.sum:.1f} of"
        f" {found.alarm:g}; this run: {found.run:.3f}"
    )
    if found.slower or found.step:
        before = _drift(baseline, earlier[:-1], earlier[-1], *limits) if earlier else None
        if before and ((found.slower and before.slower) or (found.step and before.run >= found.step_from)):
            hint = "flyball bench run --against compares two builds in pairs"
            return failed("BENCH_SLOWER", told, hint, **evidence)
        message = f"{told}, which a second run in a row has to confirm"
        return inconclusive("BENCH_WATCH", message, "run again", **evidence)
    if found.visible > wanted:
        message = f"{told}; only slow-downs from {percent(found.visible)} on would show within ten runs"
        return inconclusive("BENCH_WATCH", message, "--iter measures more, or let the machine rest", **evidence)
    return passed("BENCH_PASSED", f"{told}; slow-downs show from {percent(found.visible)} on", **evidence)


def learned(costs: Sequence[Cost]) -> tuple[Baseline | None, list[Cost]]:
    """The baseline of the first runs that are any evidence, and the costs after it. Complete with MOST_RUNS runs."""
    usable = [cost for cost in costs if cost.visible() <= _HIDDEN]
    # With a limit of 1 the baseline is as long as it may be, which a p95 needs: its noise is several times a cost's.
    baseline, after = learn([Cost(cost.value) for cost in usable], 1.0)
    return baseline, usable[len(usable) - len(after) :] if after else []


def _drift(baseline: Baseline, earlier: Sequence[Cost], now: Cost, least_ratio: float, visible: float) -> Drift:
    """As flyball.evidence.drift, with an alarm for two tests."""
    found = drift(baseline, earlier, now, least_ratio, visible)
    return found._replace(alarm=_ALARM, slower=found.slower and found.sum >= _ALARM)


def _files(entries: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(entry.run.file for entry in entries)
