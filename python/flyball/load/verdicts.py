"""What a run shows of its thresholds. What cannot be shown is undecided, which is no pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import quantiles
from .record import Record, Run
from .thresholds import COUNTS, GOODPUT, TIMES, Threshold, Verdict, judge_share, judge_times


@dataclass(frozen=True)
class Outcome:
    """A threshold's verdict. `observed` may be infinite; `p95` (milliseconds): of the metric, or of the iterations."""

    flow: str
    threshold: Threshold
    verdict: Verdict
    observed: float
    p95: float
    why: str

    @property
    def said(self) -> str:
        """Limit and reason."""
        return f"{self.threshold.metric} {self.threshold}: {self.why}"


@dataclass(frozen=True)
class Judgment:
    """The verdict of a run: the worst of its outcomes, a fail before what is undecided.

    `unfit`: why nothing can be said of the run as a whole.
    """

    verdict: Verdict
    unfit: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def why(self) -> list[str]:
        """Why it is no pass."""
        missed = [each for each in self.outcomes if each.verdict != "pass" and not self.unfit]
        return [*self.unfit, *(f"{each.flow}: {each.verdict}: {each.said}" for each in missed)]


def judge(run: Run) -> Judgment:
    """The verdict of a run. Of a run that is not fit to be judged, every threshold is undecided."""
    unfit = reasons_against(run)
    outcomes = [_outcome(record, threshold) for record in run.records for threshold in record.flow.thresholds]
    if unfit:
        outcomes = [
            Outcome(each.flow, each.threshold, "undecided", each.observed, each.p95, unfit[0]) for each in outcomes
        ]
    if not outcomes:
        unfit.append("the plan has no thresholds")
    verdicts = {each.verdict for each in outcomes}
    verdict: Verdict = "fail" if "fail" in verdicts else "undecided" if unfit or verdicts != {"pass"} else "pass"
    return Judgment(verdict, tuple(unfit), tuple(outcomes))


def reasons_against(run: Run) -> list[str]:
    """Why a run cannot be judged: it was stopped, or this program was late itself."""
    why = ["the run was stopped before its end"] if run.stopped else []
    late = [(f"{record.flow.name}'s arrivals", record.late_ms) for record in run.records if record.late_ms]
    for what, values in (*late, ("the heartbeat", run.lag_ms)):
        if values and (p99 := quantiles.at(sorted(values), 0.99)) > run.plan.late_ms:
            allowed = f"allowed are {run.plan.late_ms:g} ms (late_ms)"
            why.append(f"the generator was late itself: p99 of {what} {p99:.2f} ms, {allowed}")
    return why


def times_of(record: Record, metric: str) -> tuple[list[float], int]:
    """The ordered times of a metric, and how many are missing: of what was dropped, canceled or had no answer."""
    values, n_all = {
        "http_req_duration": (record.request_ms, record.n_requests + record.n_dropped),
        "iteration_duration": (record.iteration_ms, record.n_come),
        "first_token": (record.first_token_ms, record.n_come),
        "per_token": (record.per_token_ms, record.n_come - len(record.first_token_ms) + len(record.per_token_ms)),
    }[metric]
    return sorted(values), n_all - len(values)


def _outcome(record: Record, threshold: Threshold) -> Outcome:
    metric = threshold.metric
    ordered, n_missing = times_of(record, metric if metric in TIMES else "iteration_duration")
    ordered += [math.inf] * n_missing  # what did not come was later than anything that did
    p95 = quantiles.at(ordered, 0.95) if ordered else math.nan
    if metric in TIMES:
        verdict, observed, why = judge_times(threshold, ordered)
        why += f"; {n_missing} did not come" if n_missing else ""
    elif metric in COUNTS:
        n = record.n_dropped if metric == "dropped_iterations" else len(record.iteration_ms)
        observed = n if threshold.statistic == "count" else n / record.seconds if record.seconds else math.nan
        verdict, why = "pass" if threshold.holds(observed) else "fail", f"{n} in {record.seconds:.1f} s"
    elif metric == GOODPUT:
        limit = threshold.limit * record.seconds / record.n_come if record.n_come else threshold.limit
        verdict, share, why = _judge_goodput(record, threshold, limit)
        observed = share * record.n_come / record.seconds if record.seconds else math.nan
    elif metric == "checks":
        passes, fails = (sum(each[i] for each in record.checks.values()) for i in (0, 1))
        verdict, observed, why = judge_share(threshold, passes, passes + fails)
    else:
        verdict, observed, why = judge_share(threshold, record.n_failed_requests, record.n_requests)
    return Outcome(record.flow.name, threshold, verdict, observed, p95, why)


def _judge_goodput(record: Record, threshold: Threshold, limit: float) -> tuple[Verdict, float, str]:
    """As a share of those that came, which the plan and not the server decides."""
    if limit > 1:  # more than came at all
        verdict: Verdict = "fail" if threshold.relation in (">", ">=") else "pass"
        came = f"{record.n_good} good, only {record.n_come} came in {record.seconds:.1f} s"
        return verdict, record.n_good / record.n_come if record.n_come else math.nan, came
    verdict, share, why = judge_share(threshold, record.n_good, record.n_come, limit)
    return verdict, share, f"good are {why}"
