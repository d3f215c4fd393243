"""The stages' judgments on numbers that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.evidence.gates import Outcome, Verdict, failed, passed
from flyball.journal.events import DECIDING, REASONS
from flyball.reliability import runner
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.runner import Options
from flyball.reliability.stages import (
    coverage,
    curriculum,
    explainability,
    quality,
    reason_drift,
    scenario,
    self_heal,
)
from tests.python.reliability.simulated_runs import World


def changes(*outcomes: str) -> list[quality.Change]:
    """Applied changes of one action."""
    return [quality.Change("reduce_answer", outcome) for outcome in outcomes]


def test_trials_prove_what_is_said() -> None:
    assert [round(100 * self_heal.bound(n)) for n in (3, 10, 59)] == [63, 26, 5]


def test_every_reason_of_a_run_is_told_by_some_stage() -> None:
    told: set[str] = set()

    def see(*verdicts: Verdict) -> None:
        told.update(verdict.reason_id for verdict in verdicts)

    limits = Limits()
    see(scenario.judge([]), scenario.judge(["x"]))
    see(coverage.judge([], 0, [], [], None), coverage.judge([("x", None)], 1, [], [], None))
    see(coverage.judge([], 0, [], ["x"], None), coverage.judge([], 0, [], [], {"X"}))
    for outcomes in ([], ["regressed"] * 4, ["unchanged"] * 9, ["regressed", "regressed", "unchanged"] * 30):
        see(quality.judge(changes(*outcomes), changes(*outcomes), 0.4, 4))
    see(quality.judge([], changes(*["inconclusive"] * 5), 0.4, 4))
    many = {"POLICY_STAY": 900, "POLICY_CHOICE": 900}
    see(reason_drift.judge({}, {}, limits), reason_drift.judge(many, {"POLICY_STAY": 50, "POLICY_CHOICE": 50}, limits))
    see(reason_drift.judge(many, {"POLICY_STAY": 100}, limits), reason_drift.judge(many, {"BLOCK_MODE": 100}, limits))
    see(reason_drift.judge(many | {"OUTCOME_REGRESSED": 1}, {"OUTCOME_REGRESSED": 100}, limits))
    state, harmful = self_heal.State(), self_heal.Gates(failed=("quality",))
    for gates, outcomes in (
        (self_heal.Gates(), []),
        (harmful, []),
        *[(self_heal.Gates(), [])] * 5,
        (self_heal.Gates(), ["regressed"]),
        (self_heal.Gates(), ["regressed"] * 9),
    ):
        state, said = self_heal.step(state, "1", gates, changes(*outcomes), limits)
        see(said)
    assert state.needed == 2 * limits.stable_streak
    trial, latched = self_heal.State("canary"), self_heal.State("quarantined", latched=True)
    see(self_heal.step(trial, "1", self_heal.Gates(), changes(*["unchanged"] * 40), limits)[1])
    see(self_heal.step(latched, "1", self_heal.Gates(), [], limits)[1])
    elsewhere = {
        "AUDIT": "tests/python/serve/test_evidence.py",
        "ADAPTER": "tests/python/serve/test_adapters.py",
        "MEMORY": "tests/python/serve/test_memory.py",
        "ROUTE": "tests/python/serve/test_routing.py",
        "GUARDIAN": "tests/python/serve/test_guardians.py",
        "PLUGIN": "tests/python/serve/test_plugins.py",
        "REPLICA": "tests/python/scale/test_edge.py",
        "SETTINGS": "tests/python/serve/test_live_following.py",
        "STARTUP": "test_costs.py",
        "METRICS": "test_costs.py",
        "BENCH": "test_bench_pack.py",
        "RELEASE": "test_release.py",
        "DASHBOARD": "test_reliability_pages.py",
        "REPORT": "test_reliability_pages.py",
        "JOURNAL": "tests/python/journal",
        "JOURNALS": "test_journals.py",
        "PREFLIGHT": "above",
        "RUN": "above",
        "EXPLAIN": "test_what_cannot_be_explained_is_a_gap",
        "HISTORY": "test_integrity.py",
        "CURRICULUM": "test_confidence_follows_phase_workload_and_outcomes",
    }
    families = {"MODEL", "SESSION", *DECIDING, *elsewhere}
    assert told | {"HEAL_RESET", "HEAL_OTHER_SUBJECT"} == {
        id for id, row in REASONS.items() if row.family not in families
    }


def test_what_cannot_be_explained_is_a_gap(artifacts: Path) -> None:
    record = runner.run(Options(artifacts, only=["explainability"]))
    assert record.stages["explainability"].verdict.reason_id == "EXPLAIN_COMPLETE"
    kept = artifacts / "runs" / record.run / "scenario" / "journal.jsonl"
    [decided, *_] = [event for event in journal.read(kept) if event.is_decision and event.data]
    [row] = explainability.decisions([replace(decided, data={})])
    assert row["sentence"] == ""


def test_confidence_follows_phase_workload_and_outcomes() -> None:
    assert [curriculum.phase_of(n)[0] for n in (0, 2, 3, 6, 7, 1000)] == ["early"] * 2 + ["warm"] * 2 + ["steady"] * 2
    assert curriculum.workload_of({}) == "unknown"
    assert curriculum.workload_of({"stay": 5}) == "unknown"
    assert curriculum.workload_of({"reduce_answer": 3, "increase_context": 1}) == "latency"
    assert curriculum.workload_of({"increase_context": 1}) == "context_expansion"
    assert curriculum.workload_of({"reduce_answer": 1, "increase_context": 1}) == "mixed"
    assert [curriculum.adaptation(x) for x in ([], ["improved"] * 9, ["regressed"] * 9, ["unchanged"])] == [
        0,
        -10,
        10,
        0,
    ]


def test_decisions_of_a_broken_scenario_are_no_baseline() -> None:
    world = World(1)
    world.days(20, ("reason_drift",))
    assert world.run(("reason_drift",)).values("reason_drift")["baseline_n"] > 300
    broken = StageResult("scenario", failed("SCENARIO_BROKEN", "x"))
    world.history = [replace(record, stages={**record.stages, "scenario": broken}) for record in world.history]
    verdict = world.run(("reason_drift",)).stages["reason_drift"]
    assert (verdict.values["baseline_n"], verdict.verdict.reason_id) == (0, "DRIFT_INSUFFICIENT_DATA")


def test_outcomes_of_the_journal_are_those_that_are_judged() -> None:
    outcomes = {name.removeprefix("OUTCOME_").lower() for name in REASONS if name.startswith("OUTCOME_")}
    assert outcomes == {"improved", "regressed", "unchanged", "inconclusive"}
    assert outcomes & set(quality.HARM) == {"regressed"}


def test_a_record_of_version_0_1_counts_its_outcomes() -> None:
    verdict = passed("SCENARIO_COMPLETE", "")
    values = {"applied": [{"action": "a", "outcome": "harmed"}], "reasons": {"OUTCOME_HARMED": 1}}
    record = Record("1", 0.0, stages={"scenario": StageResult("scenario", verdict, values)})
    read = Record.from_dict(json.loads(json.dumps(record.as_dict())))
    assert quality.judged([read]) == [quality.Change("a", "regressed")]
    assert read.values("scenario")["reasons"] == {"OUTCOME_REGRESSED": 1}


def test_quality_limits_follow_model_and_memory() -> None:
    assert [quality.model_class({"width": w, "layers": n}) for w, n in ((320, 8), (321, 8), (1024, 21))] == [
        "tiny",
        "medium",
        "large",
    ]
    assert [quality.memory_tier(mb) for mb in (2047, 2048, 4096)] == ["low", "mid", "high"]
    assert quality.longest_streak(changes("regressed", "failed", "unchanged", "regressed")) == (2, "reduce_answer")
    assert quality.longest_streak(changes("regressed", "inconclusive", "failed")) == (2, "reduce_answer")
    one, other = changes("regressed"), [quality.Change("reduce_cache", "unchanged")]
    assert quality.longest_streak([*one, *other] * 3) == (3, "reduce_answer")  # another's harmlessness is not its own


def test_markers_without_a_reason_are_found() -> None:
    log = "[startup] model_load reason_id=MODEL_LOADED seq=0\n[guard] stop seq=1\nfree text\n"
    found = scenario.markers(log)
    assert found == [("startup", "MODEL_LOADED"), ("guard", None)]
    assert "[guard] has no reason; 1 lines of the log have no marker" in coverage.judge(found, 3, [], [], None).message


def test_records_keep_their_schema(artifacts: Path) -> None:
    record = Record("1", 2.0, stages={"x": StageResult("x", passed("HEAL_ACTIVE", "m"), {"n": 1}, 0.5)})
    assert Record.from_dict(json.loads(json.dumps(record.as_dict()))) == record
    with pytest.raises(ValueError, match="registry"):
        passed("HEAL_SOMEHOW", "")
    assert record.outcome is Outcome.PASS


def test_limits_come_with_their_source(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("model_prepare_ms = 5\nadapt_quality = false\n")
    limits = Limits.read(path)
    assert limits.effective("model_prepare_ms", "first_token_ms") == [
        {"name": "model_prepare_ms", "value": 5, "source": str(path)},
        {"name": "first_token_ms", "value": 2000, "source": "default"},
    ]
    for wrong in (
        "x = 1",
        "model_prepare_ms = 'a'",
        "curriculum = 1",
        "model_prepare_ms = true",
        "a b",
        "warn_percent = -1",
    ):
        path.write_text(wrong)
        with pytest.raises(flyball.FormatError, match=r"limits.toml"):
            Limits.read(path)
