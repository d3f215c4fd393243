"""Reason drift: compare the distribution of reasons with earlier runs of the same build line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...evidence.gates import Verdict, failed, inconclusive, passed
from ...evidence.stats import contingency, effect_sizes, holm, larger_share_p, same_distribution_p
from ...journal.events import DECIDING, REASONS
from ..context import Context
from ..results import Limits, Record, StageResult

UNSEEN = "UNSEEN"
HARMFUL = {"OUTCOME_REGRESSED", "APPLY_NOT_VERIFIED", "APPLY_UNDONE", "PLAN_HARD_STOP", "PLAN_NOT_RESTORED"}
_BASELINE_RUNS = 60
_LEAST_BASELINE = 3  # minimum size of the baseline, in multiples of the compared events
# These depend on the machine's load, and none of them is a decision about an answer.
_OF_TIME = {"AUTOTUNE_CALIBRATED", "AUTOTUNE_BASELINE_LOWERED", "AUTOTUNE_THREADS", "AUTOTUNE_TOO_SHORT"}


def run(context: Context) -> StageResult:
    """Compare the newest runs that have enough decisions together with the runs before them."""
    line = context.subjects.get("line", "")
    # A scenario that broke made other decisions than one that ends.
    runs = [r for r in context.history if r.passed("scenario") and r.subjects.get("line", "") == line]
    own = decisions(context.values("scenario").get("reasons", {}))
    current = Counter(own)
    while sum(current.values()) < context.limits.drift_events and runs:
        current.update(runs.pop().values("reason_drift").get("decisions", {}))
    baseline = total(runs[-_BASELINE_RUNS:])
    values: dict[str, Any] = {
        "decisions": own,
        "n": sum(current.values()),
        "baseline_n": sum(baseline.values()),
        "limits": context.limits.effective("drift_events", "drift_level"),
    }
    verdict = judge(baseline, current, context.limits)
    return StageResult("reason_drift", verdict, values | verdict.evidence)


def decisions(reasons: Mapping[str, int]) -> dict[str, int]:
    """The counts of reasons that are decisions about answers."""
    return {
        reason: n
        for reason, n in reasons.items()
        if reason not in _OF_TIME and (reason not in REASONS or REASONS[reason].family in DECIDING)
    }


def total(runs: Iterable[Record]) -> Counter[str]:
    """The decisions of all runs."""
    counts: Counter[str] = Counter()
    for record in runs:
        counts.update(record.values("reason_drift").get("decisions", {}))
    return counts


def judge(baseline: Mapping[str, int], current: Mapping[str, int], limits: Limits) -> Verdict:
    """Three tests at one level: the whole distribution, unseen reasons, harmful reasons."""
    n, of = sum(current.values()), sum(baseline.values())
    if n < limits.drift_events or of < _LEAST_BASELINE * limits.drift_events:
        needed = f"{limits.drift_events} and {_LEAST_BASELINE * limits.drift_events} are needed"
        message = f"{n} decisions, and {of} before them; {needed}"
        return inconclusive("DRIFT_INSUFFICIENT_DATA", message, "run again with this build line")
    table = contingency(baseline, current, UNSEEN)
    unseen = int(table.current[-1])
    harmful = sum(count for reason, count in current.items() if reason in HARMFUL)
    harmful_before = sum(count for reason, count in baseline.items() if reason in HARMFUL)
    p_values = {
        "distribution": same_distribution_p(table),
        "unseen": larger_share_p(unseen, n, 0, of),
        "harmful": larger_share_p(harmful, n, harmful_before, of),
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    sizes = effect_sizes(table)
    evidence: dict[str, Any] = {"p": adjusted, "unseen": unseen, "harmful": harmful, **sizes}
    hint = "flyball journal stats on the scenario's journal lists the reasons"
    for test, reason_id, message in (
        ("harmful", "DRIFT_HARMFUL", f"{harmful} of {n} decisions are harmful, {harmful_before} of {of} were"),
        ("unseen", "DRIFT_UNSEEN", f"{unseen} of {n} decisions have reasons that are new"),
        ("distribution", "DRIFT_DISTRIBUTION", "the distribution of reasons has changed"),
    ):
        if adjusted[test] < limits.drift_level:
            return failed(reason_id, f"{message} (p = {adjusted[test]:.2g})", hint, **evidence)
    smallest = min(adjusted.values())
    return passed(
        "DRIFT_PASSED", f"{n} decisions do not differ from the {of} before them (smallest p {smallest:.2g})", **evidence
    )
