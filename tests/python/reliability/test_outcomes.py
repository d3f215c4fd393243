"""What a run has not seen counts neither for the policy nor against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from flyball import journal
from flyball.cli import main
from flyball.evidence.gates import Outcome, inconclusive, passed
from flyball.reliability import runner
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.runner import Options
from flyball.reliability.stages import quality, scenario, self_heal
from flyball.reliability.stages.quality import Change
from flyball.reliability.stages.self_heal import Gates, State
from flyball.reliability.store import Store
from tests.python.reliability.simulated_runs import World

FAST = ("preflight", "scenario", "quality", "self_heal")
HARMLESS = Change("reduce_answer", "unchanged", 12)
UNDECIDED = Change("reduce_answer", "inconclusive")
HARMFUL = Change("reduce_answer", "regressed", 12)


def doctored(*effects: str) -> list[str]:
    """The scenario with one change alone, and with what every answer after it suffers."""
    lines = [line for line in scenario.script() if not line.startswith("/consult mock") or "reduce_answer" in line]
    [change] = [n for n, line in enumerate(lines) if line == "/consult mock reduce_answer"]
    return [*lines[: change + 1], *effects, *lines[change + 1 :]]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy's only change makes every later answer end before its first token."""
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in FAST})
    lines = doctored("/guard on", "/guard first_token_ms 1", "/guard turn_ms 1")
    story = lines.index("/max_tokens 400")  # which its own guard must end, also where a first token takes long
    lines.insert(story, "/guard first_token_ms 0")
    monkeypatch.setattr(scenario, "script", lambda: lines)


@pytest.mark.usefixtures("worse")
def test_a_policy_that_makes_every_answer_worse_is_quarantined(artifacts: Path) -> None:
    """The real REPL: within the declared number of judged changes, and the run says so by its exit code."""
    codes = [main(["reliability", "run", "--artifacts", str(artifacts)]) for _ in range(3)]
    assert codes == [2, 2, 1]
    records = Store(artifacts).history()
    decided = [change for record in records for change in quality.changes_of(record) if change.decided]
    assert decided == [Change("reduce_answer", "regressed", 12)] * 3
    declared = next(x["value"] for x in records[-1].values("quality")["limits"] if "streak, effective" in x["name"])
    assert len(decided) == declared
    assert records[-1].stages["quality"].verdict.reason_id == "QUALITY_HARMFUL_STREAK"
    assert records[-1].heal["mode"] == "quarantined"
    seen = [e.data for e in journal.read(artifacts / "runs" / records[-1].run / "scenario" / "journal.jsonl")]
    ended = [data for data in seen if data.get("stopped") and data.get("step_cycles") == 0]
    assert len(ended) >= 12  # none of them was long enough to measure its speed


def test_the_scenario_decides_its_own_changes(tmp_path: Path) -> None:
    record = runner.run(Options(tmp_path, only=["quality"]))
    applied = record.values("scenario")["applied"]
    assert [change["action"] for change in applied] == ["reduce_answer", "reduce_cache"]
    assert all(change["outcome"] in quality.HARMLESS for change in applied)
    power = record.values("quality")["power"]
    assert power["pairs"] >= 8
    assert power["seen"]["90%"] > 0.99


def states(*runs: tuple[Gates, Sequence[Change]], state: State) -> list[State]:
    """The state after each run."""
    found = []
    for gates, changes in runs:
        state, _ = self_heal.step(state, "1", gates, changes, Limits())
        found.append(state)
    return found


def test_only_a_run_in_which_every_gate_passed_is_stable() -> None:
    quarantined = State("quarantined", needed=2)
    blind, good, bad = Gates(undecided=("metrics",)), Gates(), Gates(failed=("startup",), undecided=("metrics",))
    found = states(
        (good, []), (blind, []), (blind, []), (bad, []), (good, []), (blind, []), (good, []), state=quarantined
    )
    assert [state.stable for state in found] == [1, 1, 1, 0, 1, 1, 2]
    assert [state.undecided for state in found] == [0, 1, 2, 2, 2, 3, 0]
    assert [state.mode for state in found] == ["quarantined"] * 6 + ["canary"]
    _, verdict = self_heal.step(quarantined, "1", Gates(undecided=("scenario", "metrics")), [], Limits())
    assert "scenario, metrics" in verdict.message
    assert verdict.evidence["undecided"] == ("scenario", "metrics")


@pytest.mark.parametrize("gate", self_heal.GATES)
@pytest.mark.parametrize("how", ["absent", "inconclusive", "crashed"])
def test_a_gate_that_did_not_judge_is_undecided(gate: str, how: str) -> None:
    context = Context("1", Path(), Path(), PROFILES["quick"])
    context.results = {name: StageResult(name, passed("SCENARIO_COMPLETE", "")) for name in self_heal.GATES}
    assert Gates.of(context) == Gates()
    if how == "absent":
        del context.results[gate]
    else:
        reason = "RUN_CRASHED" if how == "crashed" else "METRICS_INSUFFICIENT_DATA"
        context.results[gate] = StageResult(gate, inconclusive(reason, ""))
    assert Gates.of(context) == Gates(undecided=(gate,))


def test_a_trial_counts_decided_changes_only() -> None:
    trial = State("canary", needed=5)
    [state] = states((Gates(), [UNDECIDED] * 500), state=trial)
    assert (state.mode, state.trial_n) == ("canary", 0)
    [state] = states((Gates(undecided=("metrics",)), [HARMLESS] * 11), state=trial)
    assert (state.mode, state.trial_n) == ("canary", 11)  # released by the next run in which every gate passes
    assert states((Gates(), []), state=state)[0].mode == "active"
    assert states((Gates(undecided=("metrics",)), [HARMFUL] * 6), state=trial)[0].mode == "quarantined"


def test_what_an_earlier_version_counted_without_evidence_is_counted_again() -> None:
    old = {"mode": "canary", "needed": 5, "trial_n": 10, "trial_harm": 1, "stable": 5}
    assert State.of(old) == State("canary", needed=5, trial_n=1, trial_harm=1)
    assert State.of(old | {"undecided": 0}).trial_n == 10


def test_harm_counts_in_a_run_that_failed_and_its_absence_does_not() -> None:
    values = {"applied": [{"action": "a", "outcome": o} for o in ("regressed", "unchanged", "inconclusive")]}
    record = Record("1", 0.0, stages={"scenario": StageResult("scenario", passed("SCENARIO_COMPLETE", ""), values)})
    assert [change.outcome for change in quality.changes_of(record)] == ["regressed", "unchanged", "inconclusive"]
    broken = replace(record.stages["scenario"], verdict=scenario.judge(["x"]))
    found = quality.changes_of(replace(record, stages={"scenario": broken}))
    assert [change.outcome for change in found] == ["regressed", "inconclusive", "inconclusive"]


def test_changes_that_are_never_judged_do_not_pass() -> None:
    old, new = [HARMLESS] * 40, [UNDECIDED] * 40
    assert quality.judge(old, [*old, *new][-40:], 0.3, 3).reason_id == "QUALITY_UNDECIDED"
    assert quality.judge(old, [*new[:35], *old[:5]], 0.3, 3).outcome is Outcome.PASS
    harmful = [HARMFUL, *[UNDECIDED] * 60, HARMFUL, *[UNDECIDED] * 60, HARMFUL]
    verdict = quality.judge([change for change in harmful if change.decided], harmful[-40:], 0.3, 3)
    assert verdict.reason_id == "QUALITY_HARMFUL_STREAK"


def test_a_change_without_an_outcome_is_undecided_and_one_before_a_crash_did_harm(tmp_path: Path) -> None:
    options = Options(tmp_path, only=["quality"])
    record = runner.run(options)
    events = list(journal.read(tmp_path / "runs" / record.run / "scenario" / "journal.jsonl"))
    [first, *_] = [n for n, event in enumerate(events) if event.reason_id == "PLAN_STEP"]
    assert scenario.observed(events[: first + 9])["applied"] == [{"action": "reduce_answer", "outcome": "inconclusive"}]
    crashed = scenario.observed(events[: first + 9], crashed=True)["applied"]
    assert crashed == [{"action": "reduce_answer", "outcome": "failed"}]
    assert scenario.observed(events, crashed=True)["applied"] == scenario.observed(events)["applied"]


def test_runs_that_broke_are_no_experience() -> None:
    """The confidence that changes need falls with the runs; not with those that saw nothing."""

    def phases(share: float) -> list[str]:
        runs = World(1, blind="crash", blind_share=share).days(20, ("curriculum",))
        return [run.values("curriculum")["phase"] for run in runs if "curriculum" in run.stages]

    assert set(phases(1.0)) == {"early"}
    assert phases(0.0)[-1] == "steady"
