"""A run as JSON: what readers of k6's summary export know, and what that has no place for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ..store.histogram import BOUNDS_MS, Histogram
from . import quantiles
from .record import Record, Run
from .thresholds import TIMES
from .verdicts import Judgment, times_of

SCHEMA = 1
_SHARES = (0.5, 0.9, 0.95, 0.99)


def summarize(run: Run, judgment: Judgment, identity: str, started: str) -> dict[str, Any]:
    """The summary of a run; all times are in milliseconds but those named seconds."""
    metrics = _metrics(run.records, run.seconds)
    for record in run.records:
        of_flow = _metrics([record], record.seconds)
        for outcome in judgment.outcomes:
            if outcome.flow == record.flow.name:
                # k6 writes true for a threshold that was crossed; what is undecided has not been met.
                crossed = of_flow.setdefault(outcome.threshold.metric, {}).setdefault("thresholds", {})
                crossed[str(outcome.threshold)] = outcome.verdict != "pass"
        metrics |= {f"{name}{{scenario:{record.flow.name}}}": values for name, values in of_flow.items()}
    return {
        "schema": SCHEMA,
        "run": identity,
        "plan": run.plan.name,
        "url": run.url,
        "seed": run.plan.seed,
        "started": started,
        "seconds": run.seconds,
        "stopped": run.stopped,
        "verdict": judgment.verdict,
        "why": judgment.why,
        "goodput": sum(record.n_good for record in run.records) / run.seconds if run.seconds else None,
        "thresholds": [
            {
                "flow": each.flow,
                "metric": each.threshold.metric,
                "limit": str(each.threshold),
                "severity": each.threshold.severity,
                "verdict": each.verdict,
                "observed": finite(each.observed),
                "why": each.why,
            }
            for each in judgment.outcomes
        ],
        "flows": {record.flow.name: _flow(record) for record in run.records},
        "generator": _generator(run),
        "server": _server(run),
        "metrics": metrics,
        "root_group": _root_group(run.records),
        "histograms": {
            "bounds_ms": list(BOUNDS_MS),
            "flows": {record.flow.name: _histograms(record) for record in run.records},
        },
    }


def finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def _metrics(records: Sequence[Record], seconds: float) -> dict[str, Any]:
    passes = sum(each[0] for record in records for each in record.checks.values())
    fails = sum(each[1] for record in records for each in record.checks.values())
    n_failed, n_requests = sum(r.n_failed_requests for r in records), sum(r.n_requests for r in records)
    found: dict[str, Any] = {
        # k6 counts as passes of this metric the requests that failed.
        "http_req_failed": {
            "passes": n_failed,
            "fails": n_requests - n_failed,
            "value": n_failed / n_requests if n_requests else 0,
        },
        "http_reqs": _counter(n_requests, seconds),
        "iterations": _counter(sum(len(record.iteration_ms) for record in records), seconds),
        "dropped_iterations": _counter(sum(record.n_dropped for record in records), seconds),
        "unfinished_iterations": _counter(sum(record.n_unfinished for record in records), seconds),
        "goodput": _counter(sum(record.n_good for record in records), seconds),
        "checks": {"passes": passes, "fails": fails, "value": passes / (passes + fails) if passes + fails else 0},
    }
    for metric in TIMES:
        ordered = sorted(value for record in records for value in times_of(record, metric)[0])
        if ordered:
            found[metric] = _trend(ordered)
    return found


def _counter(n: int, seconds: float) -> dict[str, float]:
    return {"count": n, "rate": n / seconds if seconds else 0}


def _trend(ordered: Sequence[float]) -> dict[str, float]:
    """As k6 has it, of the times that there are."""
    named = {"med": 0.5, "p(90)": 0.9, "p(95)": 0.95, "p(99)": 0.99}
    return {
        "avg": math.fsum(ordered) / len(ordered),
        "min": ordered[0],
        "max": ordered[-1],
    } | {name: quantiles.at(ordered, share) for name, share in named.items()}


def _flow(record: Record) -> dict[str, Any]:
    return {
        "seconds": record.seconds,
        "come": record.n_come,
        "ended": len(record.iteration_ms),
        "good": record.n_good,
        "goodput": record.n_good / record.seconds if record.seconds else None,
        "goodput_limits": asdict(record.flow.goodput),
        "dropped": record.n_dropped,
        "unfinished": record.n_unfinished,
        "tokens": record.n_tokens,
        "checks": {name: {"passes": each[0], "fails": each[1]} for name, each in record.checks.items()},
        "errors": dict(record.errors.most_common()),
        "quantiles": {metric: _bounded(*times_of(record, metric)) for metric in TIMES if times_of(record, metric)[0]},
    }


def _bounded(ordered: list[float], n_missing: int) -> dict[str, Any]:
    """Quantiles with bounds; what is missing counts as later than all others."""
    every = ordered + [math.inf] * n_missing
    found: dict[str, Any] = {"n": len(ordered), "missing": n_missing}
    for share in _SHARES:
        value, low, high = quantiles.quantile(every, share)
        found[f"p({100 * share:g})"] = {"value": finite(value), "at_least": finite(low), "at_most": finite(high)}
    return found


def _generator(run: Run) -> dict[str, Any]:
    """This program's own lateness: if it is large, the other figures say nothing of the server."""
    late = {record.flow.name: _trend(sorted(record.late_ms)) for record in run.records if record.late_ms}
    return {
        "limit_p99_ms": run.plan.late_ms,
        "late_ms": late,
        "heartbeat_ms": _trend(sorted(run.lag_ms)) if run.lag_ms else None,
        "cpu_seconds": run.cpu_seconds,
    }


def _server(run: Run) -> dict[str, Any] | None:
    """None: its process is not to be seen from here."""
    if not run.usage:
        return None
    first, last = run.usage[0], run.usage[-1]
    seconds = last.at - first.at
    return {
        "cpu_seconds": last.cpu_seconds - first.cpu_seconds,
        "cpus": (last.cpu_seconds - first.cpu_seconds) / seconds if seconds > 0 else None,
        "rss_bytes_most": max(each.rss_bytes for each in run.usage),
        "private_bytes_first": first.private_bytes,
        "private_bytes_last": last.private_bytes,
        "snapshots": [asdict(each) for each in run.usage],
    }


def _histograms(record: Record) -> dict[str, Any]:
    """Counts by the number of their bucket in `bounds_ms`; the one after the last has all longer times."""
    return {
        metric: {str(bucket): n for bucket, n in sorted(Histogram.of(values).counts.items())}
        for metric in TIMES
        if (values := [max(0.0, value) for value in times_of(record, metric)[0]])
    }


def _root_group(records: Iterable[Record]) -> dict[str, Any]:
    checks: dict[str, Any] = {}
    for record in records:
        for name, (passes, fails) in record.checks.items():
            path = f"::{name}"
            entry = checks.setdefault(
                name, {"name": name, "path": path, "id": _identity(path), "passes": 0, "fails": 0}
            )
            entry["passes"] += passes
            entry["fails"] += fails
    return {"name": "", "path": "", "id": _identity(""), "groups": {}, "checks": checks}


def _identity(path: str) -> str:
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()  # k6's names of groups and checks
