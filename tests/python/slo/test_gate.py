"""The gate on histories with known truth: what it fails, what it passes, and what it cannot know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flyball.evidence.drift import MOST_RUNS, Cost
from flyball.evidence.gates import Outcome
from flyball.slo.gate import METRICS, judge, label, overall, regression_verdict, share_verdict
from flyball.slo.history import lines
from flyball.slo.record import read_all
from flyball.slo.targets import DEFAULTS, Levels
from tests.python.slo.conftest import MakeRun
from tests.python.slo.simulated_runs import Noise, histories, outcomes, share_failed, share_family_failed

LEVELS = Levels()
QUIET = Noise(within=0.05, between=0.005)


def of(costs: list[Cost]) -> Outcome:
    return regression_verdict(costs, LEVELS.regression, LEVELS.least_ratio).outcome


def test_clean_histories_do_not_fail_either_test() -> None:
    assert share_family_failed(Noise(0.05, 0.0266), 1000, 20) <= 0.01


def test_ten_percent_are_found_within_ten_runs() -> None:
    assert share_failed(QUIET, 200, 10, 1.10) >= 0.95


def test_a_noisy_machine_is_undecided_and_still_finds_a_large_regression() -> None:
    noisy = Noise(0.2, 0.0266)
    passes = [o for costs in histories(noisy, 50, 10, 1.0) for o in outcomes(costs, LEVELS)]
    assert passes.count(Outcome.PASS) / len(passes) < 0.1
    assert share_failed(noisy, 100, 10, 1.5) >= 0.95


def test_too_few_runs_are_undecided() -> None:
    assert of([Cost(10.0, 0.01)] * MOST_RUNS) is Outcome.INCONCLUSIVE
    assert of([Cost(10.0, 0.01)] * (MOST_RUNS + 1)) is Outcome.PASS


def test_a_step_fails_when_a_second_run_confirms_it() -> None:
    clean, slow = [Cost(10.0, 0.01)] * MOST_RUNS, Cost(25.0, 0.01)
    assert of([*clean, slow]) is Outcome.INCONCLUSIVE
    assert of([*clean, slow, slow]) is Outcome.FAIL
    assert of([*clean, slow, Cost(10.0, 0.01)]) is Outcome.PASS


def test_an_alarm_fails_when_a_second_run_confirms_it() -> None:
    clean, slow = [Cost(10.0, 0.01)] * MOST_RUNS, Cost(11.5, 0.01)
    found = [of([*clean, *[slow] * n]) for n in range(1, 12)]
    first = found.index(Outcome.INCONCLUSIVE)
    assert set(found[:first]) == {Outcome.PASS}
    assert found[first + 1] is Outcome.FAIL


def test_contended_runs_are_undecided() -> None:
    clean = [Cost(10.0, 0.01)] * MOST_RUNS
    assert of([*clean, Cost(14.0, 0.01, inflation=1.5)]) is Outcome.INCONCLUSIVE
    assert of([*clean, *[Cost(14.0, 0.4)] * 10]) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("missed", "n", "may", "outcome"),
    [
        (0, 58, 0.05, Outcome.INCONCLUSIVE),  # 0.95^58 = 0.051
        (0, 59, 0.05, Outcome.PASS),  # 0.95^59 = 0.0485
        (3, 30, 0.05, Outcome.INCONCLUSIVE),
        (6, 30, 0.05, Outcome.FAIL),
        (0, 4, 0.5, Outcome.INCONCLUSIVE),
        (0, 5, 0.5, Outcome.PASS),  # 0.5^5 = 0.031
        (6, 6, 0.5, Outcome.INCONCLUSIVE),  # 0.5^6 = 0.016
        (7, 7, 0.5, Outcome.FAIL),  # 0.5^7 = 0.008
    ],
)
def test_targets_are_judged_by_bounds(missed: int, n: int, may: float, outcome: Outcome) -> None:
    assert share_verdict(missed, n, may).outcome is outcome


def test_a_missed_target_fails_and_names_its_runs(make_run: MakeRun) -> None:
    good = make_run(100.0, {"short-question": [20.0] * 60})
    bad = make_run(200.0, {"short-question": [900.0] * 60})
    levels = Levels(scenarios=("short-question",))
    findings = {f.metric: f for f in judge(lines(read_all(good.parent)), levels)}
    assert list(findings) == list(METRICS)
    assert findings["latency_p95_ms"].verdict.outcome is Outcome.FAIL
    assert findings["latency_p95_ms"].runs == (good.name, bad.name)  # of one build
    assert findings["peak_memory_mb"].verdict.outcome is Outcome.PASS
    assert overall(list(findings.values())) is Outcome.FAIL


def test_a_scenario_without_runs_is_undecided(make_run: MakeRun) -> None:
    path = make_run(100.0, {"short-question": [20.0] * 60})
    findings = judge(lines(read_all(path.parent)), Levels(scenarios=("tool-call",)))
    assert [f.verdict.reason_id for f in findings] == ["BENCH_INSUFFICIENT_DATA"]
    assert label(overall(findings)) == "undecided"


def test_another_machine_model_answer_or_size_starts_a_new_line(make_run: MakeRun) -> None:
    folder = make_run(1.0, {"short-question": [20.0] * 5}).parent
    changes: list[dict[str, Any]] = [
        {"machine": {"name": "m", "n_processors": 1, "digest": "other"}},
        {"fingerprint": "other"},
        {"threads": 9},
    ]
    for time, change in enumerate(changes, 2):
        make_run(float(time), {"short-question": [20.0] * 5}, **change)
    make_run(8.0, {"short-question": [20.0] * 6})
    make_run(9.0, {"short-question": [20.0] * 5})
    line = lines(read_all(folder))["short-question"]
    assert [entry.run.time for entry in line.entries] == [1.0, 9.0]
    assert line.n_other == 4


def test_a_real_history_of_slow_runs_fails(make_run: MakeRun) -> None:
    for n in range(MOST_RUNS + 8):
        ms = 20.0 * (1.2 if n >= MOST_RUNS else 1.0)
        path = make_run(1000.0 + n, {"short-question": [ms, ms * 1.01, ms * 0.99]})
    findings = judge(lines(read_all(path.parent)), Levels(scenarios=("short-question",), targets=DEFAULTS))
    found = next(f for f in findings if f.metric == "regression")
    assert found.verdict.reason_id == "BENCH_SLOWER"
    assert found.value == pytest.approx(1.2)
    assert len(found.runs) == MOST_RUNS + 8


def test_waiting_for_a_processor_is_no_regression(make_run: MakeRun) -> None:
    """The latency is what the user saw; the cost that is compared with the history leaves the waiting out."""
    path = make_run(1.0, {"short-question": [40.0] * 5})
    document = json.loads(path.read_text())
    document["cases"]["short-question"]["scenario"]["busy_ms"] = [20.0] * 5
    path.write_text(json.dumps(document))
    entry = lines(read_all(path.parent))["short-question"].newest
    assert entry.p95 == 40.0
    assert entry.cost.value == 20.0  # the reference took 1 ms


def test_first_tokens_are_compared_as_latencies_are(make_run: MakeRun) -> None:
    for n in range(MOST_RUNS + 9):
        path = make_run(1000.0 + n, {"short-question": [20.0, 20.2, 19.8]})
        if n >= MOST_RUNS:
            document = json.loads(path.read_text())
            scenario = document["cases"]["short-question"]["scenario"]
            scenario["first_token_ms"] = [1.2 * ms for ms in scenario["first_token_ms"]]
            path.write_text(json.dumps(document))
    found = {f.metric: f for f in judge(lines(read_all(path.parent)), Levels(scenarios=("short-question",)))}
    assert found["regression"].verdict.outcome is Outcome.PASS
    assert found["first_token_regression"].verdict.reason_id == "BENCH_SLOWER"
    assert found["first_token_regression"].value == pytest.approx(1.2)


def test_a_first_token_waits_as_its_iteration_does(make_run: MakeRun) -> None:
    path = make_run(1.0, {"short-question": [40.0] * 5})
    document = json.loads(path.read_text())
    document["cases"]["short-question"]["scenario"]["busy_ms"] = [10.0] * 5
    path.write_text(json.dumps(document))
    entry = lines(read_all(path.parent))["short-question"].newest
    assert entry.first_token_cost.value == 5.0  # of 20 ms, of which three quarters were waiting
