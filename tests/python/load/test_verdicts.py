"""Quantiles with bounds, and verdicts: what is not sure is undecided."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from flyball.evidence import stats
from flyball.load import quantiles, summary
from flyball.load.record import Record, Run
from flyball.load.thresholds import Threshold, judge_share, judge_times
from flyball.load.verdicts import judge

from .plans import even, flow, plan


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (59, 60), (37, 3000), (600, 60_000)])
def test_bounds_of_shares_are_those_of_scipy(k: int, n: int) -> None:
    assert quantiles.share_bounds(k, n) == pytest.approx(stats.share_bounds(k, n, 0.95), abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_bounds_of_quantiles_hold_and_are_tight(share: float) -> None:
    """The chance that the j-th smallest is above the quantile is that of less than j below it."""
    at_most = stats.scipy("special").bdtr  # P(Bin(n, share) <= k)
    for n in (1, 4, 5, 58, 59, 298, 299, 3000):
        value, low, high = quantiles.quantile([float(i) for i in range(1, n + 1)], share)
        assert value == max(1, math.ceil(share * n - 1e-9))
        if math.isfinite(high):
            assert at_most(high - 1, n, share) >= 0.95 - 1e-9
            assert high == 1 or at_most(high - 2, n, share) < 0.95
        else:
            assert at_most(n - 1, n, share) < 0.95
        if math.isfinite(low):
            assert 1 - at_most(low - 1, n, share) >= 0.95 - 1e-9
            assert low == n or 1 - at_most(low, n, share) < 0.95


def of_times(text: str, times: list[float]) -> tuple[str, float, str]:
    return judge_times(Threshold.of("iteration_duration", text), sorted(times))


def test_times() -> None:
    assert of_times("p(95) < 10", [1.0] * 58)[0] == "undecided"
    assert "needs at least 59" in of_times("p(95) < 10", [1.0] * 58)[2]
    assert of_times("p(95) < 10", [1.0] * 59)[0] == "pass"
    assert of_times("p(99) < 10", [1.0] * 298)[0] == "undecided"
    assert of_times("p(99) < 10", [1.0] * 299)[0] == "pass"
    assert of_times("p(95) < 1", [1.0] * 59)[0] == "fail"
    assert of_times("p(95) <= 1", [1.0] * 59)[0] == "pass"
    assert of_times("p(95) < 10", [1.0] * 94 + [11.0] * 6)[0] == "undecided"
    assert of_times("p(95) < 10", [1.0] * 80 + [11.0] * 20)[0] == "fail"
    assert of_times("p(95) < 10", [1.0] * 200 + [math.inf])[0] == "pass"
    assert of_times("p(95) < 10", [math.inf] * 60)[:2] == ("fail", math.inf)
    assert of_times("med < 10", [1.0] * 4)[0] == "undecided"
    assert of_times("med < 10", [1.0] * 5)[0] == "pass"
    assert of_times("max < 10", [1.0, 10.0])[0] == "fail"
    assert of_times("p(95) < 10", [])[0] == "undecided"


def test_shares() -> None:
    failed = Threshold.of("http_req_failed", "rate < 0.05")
    assert judge_share(failed, 0, 58)[0] == "undecided"
    assert judge_share(failed, 0, 59)[0] == "pass"
    assert judge_share(failed, 9, 60)[0] == "fail"
    assert judge_share(failed, 0, 0)[0] == "undecided"
    checks = Threshold.of("checks", "rate > 0.95")
    assert judge_share(checks, 59, 59)[0] == "pass"
    assert judge_share(checks, 50, 60)[0] == "fail"
    assert judge_share(checks, 58, 60)[0] == "undecided"
    assert judge_share(Threshold.of("checks", "rate >= 1"), 3, 3)[0] == "pass"
    assert judge_share(Threshold.of("checks", "rate >= 1"), 2, 3)[0] == "fail"
    assert judge_share(Threshold.of("http_req_failed", "rate <= 0"), 1, 3)[0] == "fail"


def ran(*thresholds: Threshold, n: int = 100, took: float = 1.0, **changes: Any) -> Run:
    record = Record(flow(even(10, 10), *thresholds), seconds=10.0)
    for _ in range(n):
        record.request(took, failed=False)
        record.iteration_ms.append(took)
        record.late_ms.append(0.1)
        record.check("right", True)
    record.n_good = n
    for name, value in changes.items():
        setattr(record, name, value)
    return Run(plan(record.flow), "http://stub", (record,), seconds=10.0)


def test_what_did_not_come_counts_as_late() -> None:
    """Six of 100 more that were dropped or canceled: the p95 is not to be had any more."""
    limit = Threshold.of("iteration_duration", "p(95) < 10")
    assert judge(ran(limit)).verdict == "pass"
    assert judge(ran(limit, n_dropped=3, n_unfinished=3)).verdict == "undecided"
    found = judge(ran(limit, n_dropped=20))
    assert found.verdict == "fail"
    assert found.outcomes[0].observed == math.inf
    assert "20 did not come" in found.outcomes[0].why


def test_counts_and_goodput() -> None:
    dropped = Threshold.of("dropped_iterations", "count < 1")
    assert judge(ran(dropped)).verdict == "pass"
    assert judge(ran(dropped, n_dropped=1)).verdict == "fail"
    assert judge(ran(Threshold.of("iterations", "rate >= 10"))).verdict == "pass"
    for limit, verdict in ((9, "pass"), (9.9, "undecided"), (11, "fail")):
        assert judge(ran(Threshold.of("goodput", f"rate > {limit}"))).verdict == verdict
    assert judge(ran(Threshold.of("goodput", "rate > 9"), n_good=70)).verdict == "fail"
    assert judge(ran(Threshold.of("goodput", "rate < 20"))).verdict == "pass"


def test_a_late_generator_decides_nothing() -> None:
    """Neither a pass nor a fail; up to the limit, everything is as it was."""
    good, bad = Threshold.of("iteration_duration", "p(95) < 10"), Threshold.of("iteration_duration", "p(95) < 0.5")
    assert judge(ran(good, bad)).verdict == "fail"
    late = ran(good, bad)
    late.records[0].late_ms[:2] = late.records[0].late_ms[:0].__class__("d", [51.0, 51.0])
    found = judge(late)
    assert found.verdict == "undecided"
    assert {each.verdict for each in found.outcomes} == {"undecided"}
    assert "p99 of it's arrivals 51.00 ms, allowed are 50 ms" in found.why[0]
    lagging = ran(good)
    lagging.lag_ms.append(60.0)
    assert judge(lagging).verdict == "undecided"


def test_a_stopped_run_and_one_without_thresholds_are_undecided() -> None:
    stopped = ran(Threshold.of("checks", "rate > 0.9"))
    stopped.stopped = True
    assert judge(stopped).why == ["the run was stopped before its end"]
    assert judge(ran()).verdict == "undecided"
    assert judge(ran()).why == ["the plan has no thresholds"]


def test_nothing_that_ran_is_no_pass() -> None:
    for metric, limit in (("iteration_duration", "max < 5"), ("checks", "rate > 0.5"), ("goodput", "rate > 0.1")):
        assert judge(ran(Threshold.of(metric, limit), n=0)).verdict != "pass"


def test_the_summary_is_one_that_readers_of_k6_know() -> None:
    run = ran(Threshold.of("http_req_duration", "p(95)<10"), Threshold.of("checks", "rate > 0.999"), n_dropped=1)
    said = json.loads(json.dumps(summary.summarize(run, judge(run), "r", "now"), allow_nan=False))
    metrics = said["metrics"]
    trend = {"avg": 1, "min": 1, "med": 1, "max": 1, "p(90)": 1, "p(95)": 1, "p(99)": 1}
    assert metrics["http_req_duration"] == trend
    assert metrics["http_req_duration{scenario:it}"] == trend | {"thresholds": {"p(95)<10": False}}
    assert metrics["checks{scenario:it}"]["thresholds"] == {"rate>0.999": True}
    assert metrics["http_req_failed"] == {"passes": 0, "fails": 100, "value": 0}
    assert metrics["iterations"] == {"count": 100, "rate": 10}
    assert metrics["dropped_iterations"] == {"count": 1, "rate": 0.1}
    assert metrics["checks"] == {"passes": 100, "fails": 0, "value": 1}
    assert said["root_group"]["checks"]["right"]["passes"] == 100
    assert (said["verdict"], said["goodput"]) == ("undecided", 10)
    assert said["flows"]["it"]["quantiles"]["iteration_duration"]["p(99)"]["at_most"] is None
    counts = said["histograms"]["flows"]["it"]["iteration_duration"]
    assert sum(counts.values()) == 100
    assert 1 <= said["histograms"]["bounds_ms"][int(next(iter(counts)))] < 1.2
