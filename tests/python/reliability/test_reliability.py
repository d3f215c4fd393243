"""The runner: what a run leaves, what a kill leaves, manual actions, and refusals."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main
from flyball.evidence.gates import Outcome, Verdict, failed, passed
from flyball.journal.events import DECIDING, REASONS
from flyball.reliability import acts, runner
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
from flyball.reliability.store import Store
from tests.python.reliability.simulated_runs import World
from tests.reference.models import write_model

FAST = ("preflight", "scenario", "startup", "metrics", "coverage", "reason_drift", "quality", "self_heal", "curriculum")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that take no seconds."""
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in FAST})


def run(artifacts: Path, *words: str) -> int:
    return main(["reliability", "run", "--artifacts", str(artifacts), *words])


# ---------------------------------------------------------------- a run


def test_a_run_says_what_holds_and_why(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(artifacts) == 2  # without history some cannot be told
    out = capsys.readouterr().out
    assert "SCENARIO_COMPLETE" in out
    assert "COVERAGE_PASSED" in out
    assert "METRICS_INSUFFICIENT_DATA" in out
    assert run(artifacts, "--allow-insufficient-data", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["stages"]) == [name for name in runner.STAGES if name != "release"]
    assert found["subjects"]["model"]
    folder = artifacts / "runs" / found["run"]
    explained = json.loads((folder / "explanations.json").read_text())
    assert all(row["sentence"] for row in explained["decisions"])
    assert {row["stage"] for row in explained["thresholds"]} >= {
        "startup",
        "metrics",
        "quality",
        "self_heal",
        "curriculum",
    }
    assert journal.check(artifacts / "journal.jsonl", artifacts / "journal.log").verified
    assert main(["journal", "explain", str(artifacts / "journal.jsonl")]) == 0
    assert "the script ran to its end" in capsys.readouterr().out
    for command in (["status"], ["explain"], ["explain", "quality"], ["history"], ["status", "--json"]):
        assert main(["reliability", *command, "--artifacts", str(artifacts)]) == 0
        assert "quality" in capsys.readouterr().out or command == ["history"]


def test_one_stage_alone_leaves_no_history(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(artifacts, "--only", "coverage") == 0
    assert "COVERAGE_PASSED" in capsys.readouterr().out
    assert not (artifacts / "history.jsonl").exists()
    assert main(["reliability", "status", "--artifacts", str(artifacts)]) == 2


@pytest.mark.usefixtures("fast")
def test_another_run_is_refused(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(artifacts).locked():
        assert run(artifacts) == 2
    assert "in use by another run" in capsys.readouterr().err
    assert run(artifacts, "--allow-insufficient-data") == 0


@pytest.mark.usefixtures("fast")
def test_what_cannot_be_used_ends_the_run(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    assert run(artifacts, "--model", str(bad)) == 1
    assert "PREFLIGHT_REFUSED" in capsys.readouterr().out
    config = tmp_path / "flyball.toml"
    config.write_text("threads = many\n")
    assert run(artifacts, "--config", str(config)) == 1
    assert "flyball.toml:1" in capsys.readouterr().out
    for words in (["--profile", "x"], ["--target", "x"], ["--only", "x"], ["--limits", str(tmp_path / "absent")]):
        assert run(artifacts, *words) == 2


@pytest.mark.usefixtures("fast")
def test_a_missing_tool_is_undecided(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert run(artifacts) == 2
    assert "PREFLIGHT_MISSING" in capsys.readouterr().out


WITHOUT_SCIPY = """
import sys
sys.modules["scipy"] = None
from flyball.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_reading_needs_no_scipy_and_a_run_misses_it_first(artifacts: Path) -> None:
    def without(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_SCIPY, "reliability", *words, "--artifacts", str(artifacts)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = without("run")
    assert done.returncode == 2
    assert "PREFLIGHT_MISSING" in done.stdout
    assert "flyball[reliability]" in done.stdout
    for action, told in (("status", "preflight"), ("explain", "scipy"), ("history", "host quick")):
        done = without(action)
        assert told in done.stdout
        assert done.stderr == ""


@pytest.mark.usefixtures("fast")
def test_a_stage_that_breaks_is_undecided_and_the_others_go_on(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(context: object) -> StageResult:
        raise KeyError("surprise")

    monkeypatch.setitem(runner.STAGES, "metrics", broken)
    assert run(artifacts, "--allow-insufficient-data", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]["metrics"]["verdict"]["reason_id"] == "RUN_CRASHED"
    assert "surprise" in (artifacts / "runs" / found["run"] / "metrics.error.txt").read_text()
    assert found["stages"]["curriculum"]["verdict"]["outcome"] == "pass"


def test_another_model_runs_the_scenario(artifacts: Path, tmp_path: Path) -> None:
    """Random weights: a chat that says nothing is a chat all the same."""
    path = write_model(tmp_path / "small.gguf", "llama", "Q8_0", n_ctx_train=512).path
    options = Options(artifacts, model=path, only=["scenario", "coverage"])
    record = runner.run(options)
    assert {name: str(r.verdict.outcome) for name, r in record.stages.items()} == dict.fromkeys(
        ("preflight", "scenario", "coverage"), "pass"
    ), record


# ---------------------------------------------------------------- kills

HALF = """
import sys, time
from flyball.reliability import runner
name, artifacts = sys.argv[1:]
real = runner.STAGES[name]
def half(context):
    result = real(context)
    print("half", flush=True)
    time.sleep(60)
    return result
runner.STAGES[name] = half
runner.run(runner.Options(artifacts))
"""


@pytest.fixture(scope="session")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with a state to be read back."""
    path = tmp_path_factory.mktemp("after") / "artifacts"
    runner.run(Options(path))
    return path


@pytest.mark.parametrize("stage", [name for name in runner.STAGES if name != "release"])
def test_a_run_that_is_killed_in_a_stage_goes_on_there(stage: str, artifacts: Path, after_a_run: Path) -> None:
    shutil.copytree(after_a_run, artifacts)
    before = (artifacts / "history.jsonl").read_text()
    with subprocess.Popen(
        [sys.executable, "-c", HALF, stage, str(artifacts)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert (artifacts / "history.jsonl").read_text() == before
    killed = max((artifacts / "runs").iterdir())
    ended = {path.name: path.read_bytes() for path in (killed / "stages").glob("*.json")}
    assert f"{stage}.json" not in ended
    assert len(ended) == list(runner.STAGES).index(stage) - (
        "release" in list(runner.STAGES)[: list(runner.STAGES).index(stage)]
    )
    record = runner.run(Options(artifacts))
    assert record.run == killed.name  # the same run
    assert {name: (killed / "stages" / name).read_bytes() for name in ended} == ended
    assert [r.run for r in Store(artifacts).history()][1:] == [record.run]
    assert journal.check(artifacts / "journal.jsonl", artifacts / "journal.log").verified


def test_kills_at_any_time_lose_no_run(artifacts: Path) -> None:
    """Also while files are written: what was in the history stays, and the next run is whole."""
    command = [
        sys.executable,
        "-m",
        "flyball",
        "reliability",
        "run",
        "--artifacts",
        str(artifacts),
        "--only",
        "curriculum",
    ]
    whole = [*command[:-2], "--allow-insufficient-data"]
    n_known = 0
    for n in range(4):
        process = subprocess.Popen(whole, stdout=subprocess.DEVNULL)
        time.sleep(0.4 + 0.5 * n)
        process.kill()
        process.wait()
        history = Store(artifacts).history()
        assert len(history) >= n_known
        n_known = len(history)
    assert subprocess.run(whole, stdout=subprocess.DEVNULL, check=False).returncode == 0
    history = Store(artifacts).history()
    assert len(history) > n_known
    assert len({record.run for record in history}) == len(history)
    assert journal.check(artifacts / "journal.jsonl", artifacts / "journal.log").verified


@pytest.mark.usefixtures("fast")
def test_a_run_of_something_else_gives_up_what_was_interrupted(artifacts: Path) -> None:
    store = Store(artifacts)
    artifacts.mkdir()
    left = store.begin({"profile": "other"})
    record = runner.run(Options(artifacts))
    assert record.run != left
    assert "RUN_CLEARED" in {event.reason_id for event in journal.read(artifacts / "journal.jsonl")}
    assert store.interrupted({"profile": "other", "given_up": True})[1] == []


@pytest.mark.usefixtures("fast")
def test_a_torn_line_of_the_history_is_dropped_and_a_wrong_one_refused(artifacts: Path) -> None:
    runner.run(Options(artifacts))
    path = artifacts / "history.jsonl"
    with path.open("a") as file:
        file.write('{"schema": 1, "run": "torn')
    assert len(Store(artifacts).history()) == 1
    runner.run(Options(artifacts))
    assert len(Store(artifacts).history()) == 2
    for wrong in ("{}", "[]", "nonsense", '{"schema": 2}', '{"schema": 1, "run": "x"}', '{"schema":1,"stages":[]}'):
        path.write_text(wrong + "\n")
        with pytest.raises(flyball.FormatError, match=r"history.jsonl:1"):
            Store(artifacts).history()


@pytest.mark.usefixtures("fast")
def test_hostile_values_in_the_history_end_no_run(artifacts: Path) -> None:
    """A record of the right form whose values are not what stages expect: they cannot tell, and say so."""
    record = runner.run(Options(artifacts))
    for n, hostile in enumerate(("x", [1], None, {"load": "x", "prefill": -1, "decode": {}})):
        values = record.values("scenario") | {"cost": hostile, "applied": hostile, "reasons": hostile}
        stages = record.stages | {"scenario": replace(record.stages["scenario"], values=values)}
        Store(artifacts).append(replace(record, run=f"{record.run}-{n}", stages=stages))
    after = runner.run(Options(artifacts))
    crashed = {name for name, result in after.stages.items() if result.verdict.reason_id == "RUN_CRASHED"}
    assert crashed
    assert not crashed & {"preflight", "scenario", "coverage"}
    assert list(after.stages) == list(FAST)


# ---------------------------------------------------------------- healing


def verdict(harmful: bool) -> Verdict:
    return failed("QUALITY_HARMFUL_STREAK", "") if harmful else passed("QUALITY_PASSED", "")


@pytest.mark.usefixtures("fast")
def test_quarantine_bounds_the_policy_and_is_left_step_by_step(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole loop with the real REPL: harm, quarantine, stable runs, a trial, release."""
    mine = tmp_path / "mine.toml"
    options = Options(artifacts, policy_file=mine)
    options.limits = replace(options.limits, stable_streak=1, canary_bad=0.9)
    runner.run(options)
    limits = artifacts / "policy.toml.limits"
    assert "auto_apply" not in limits.read_text()
    real = quality.run
    monkeypatch.setitem(runner.STAGES, "quality", lambda context: replace(real(context), verdict=verdict(harmful=True)))
    assert runner.run(options).heal["mode"] == "quarantined"
    monkeypatch.setitem(runner.STAGES, "quality", real)
    for file in (limits, mine.with_name("mine.toml.limits")):
        assert 'policy.auto_apply = "off"' in file.read_text()
    quarantined = runner.run(options)
    assert quarantined.values("scenario")["applied"] == []  # the REPL obeyed
    assert quarantined.heal["mode"] == "canary"
    assert 'policy.auto_apply = "conservative"' in limits.read_text()
    trial = runner.run(options)
    assert len(trial.values("scenario")["applied"]) == 2
    for _ in range(6):
        if runner.run(options).heal["mode"] == "active":
            break
    told = [
        event.reason_id for event in journal.read(artifacts / "journal.jsonl") if event.reason_id.startswith("HEAL")
    ]
    assert [*dict.fromkeys(told)] == [
        "HEAL_ACTIVE",
        "HEAL_QUARANTINED",
        "HEAL_CANARY_BEGUN",
        "HEAL_CANARY_GOES_ON",
        "HEAL_RELEASED",
    ]
    assert "auto_apply" not in limits.read_text()


@pytest.mark.usefixtures("fast")
def test_a_person_can_hold_and_end_the_quarantine(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def reset(flag: str) -> int:
        return main(["reliability", "reset", flag, "--artifacts", str(artifacts)])

    assert run(artifacts, "--allow-insufficient-data") == 0
    assert reset("--unlatch") == 2
    assert reset("--latch") == 0
    for _ in range(2):
        assert run(artifacts) == 1
    assert "HEAL_LATCHED" in capsys.readouterr().out
    assert main(["reliability", "history", "--artifacts", str(artifacts)]) == 0
    assert "manual action: reset, quarantined" in capsys.readouterr().out
    assert reset("--unlatch") == 0
    assert reset("--active") == 0
    assert not (artifacts / "policy.toml.limits").exists()
    assert run(artifacts, "--allow-insufficient-data") == 0


@pytest.mark.usefixtures("fast")
def test_a_baseline_is_chosen_by_a_person(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reliability", "baseline", "--artifacts", str(artifacts)]
    assert main(words) == 2
    record = runner.run(Options(artifacts))
    for n in range(9):
        Store(artifacts).append(replace(record, run=f"{record.run}-{n}"))
    assert main([*words, "--runs", "3"]) == 2
    assert main(words) == 0
    assert "of 10 runs" in capsys.readouterr().out
    record = runner.run(Options(artifacts))
    assert "the baseline of" in record.stages["metrics"].verdict.message


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
    see(
        quality.judge([], 0.4, 4), quality.judge(["regressed"] * 4, 0.4, 4), quality.judge(["inconclusive"] * 9, 0.4, 4)
    )
    see(quality.judge(["regressed", "regressed", "inconclusive"] * 30, 0.4, 4))
    many = {"POLICY_STAY": 900, "POLICY_CHOICE": 900}
    see(reason_drift.judge({}, {}, limits), reason_drift.judge(many, {"POLICY_STAY": 50, "POLICY_CHOICE": 50}, limits))
    see(reason_drift.judge(many, {"POLICY_STAY": 100}, limits), reason_drift.judge(many, {"BLOCK_MODE": 100}, limits))
    see(reason_drift.judge(many | {"OUTCOME_REGRESSED": 1}, {"OUTCOME_REGRESSED": 100}, limits))
    state = self_heal.State()
    for harmful, outcomes in (
        (False, []),
        (True, []),
        *[(False, [])] * 5,
        (False, ["regressed"]),
        (False, ["regressed"] * 9),
    ):
        state, said = self_heal.step(state, "1", harmful, [], outcomes, limits)
        see(said)
    assert state.needed == 2 * limits.stable_streak
    see(self_heal.step(self_heal.State("canary"), "1", False, [], ["inconclusive"] * 40, limits)[1])
    see(self_heal.step(self_heal.State("quarantined", latched=True), "1", False, [], [], limits)[1])
    elsewhere = {
        "STARTUP": "test_costs_are_judged",
        "METRICS": "test_costs_are_judged",
        "BENCH": "test_bench_pack.py",
        "RELEASE": "test_release.py",
        "DASHBOARD": "test_reliability_pages.py",
        "REPORT": "test_reliability_pages.py",
        "PREFLIGHT": "above",
        "RUN": "above",
        "EXPLAIN": "test_what_cannot_be_explained_is_a_gap",
        "CURRICULUM": "test_confidence_follows_phase_workload_and_outcomes",
    }
    families = {"MODEL", "SESSION", *DECIDING, *elsewhere}
    assert told | {"HEAL_RESET"} == {id for id, row in REASONS.items() if row.family not in families}


def test_costs_are_judged() -> None:
    world = World(4)
    told = {name: {world.run(("startup", "metrics")).stages[name].verdict.reason_id} for name in ("startup", "metrics")}
    world.days(20, ("startup", "metrics"))
    world.slow = 1.5
    for record in world.days(8, ("startup", "metrics")):
        for name, seen in told.items():
            seen.add(record.stages[name].verdict.reason_id)
    world.slow = 1.0
    for record in world.days(40, ("startup", "metrics")):
        for name, seen in told.items():
            seen.add(record.stages[name].verdict.reason_id)
    assert told["metrics"] == {"METRICS_INSUFFICIENT_DATA", "METRICS_PASSED", "METRICS_SLOWER"}
    assert record.passed("metrics")  # fixed: no longer a slow-down
    world.limits = Limits(first_token_ms=0.1)
    over = world.run(("startup",)).stages["startup"].verdict
    assert "first_token_ms is 0.7, the limit is 0.1" in over.message
    assert told["startup"] | {over.reason_id} == {id for id, row in REASONS.items() if row.family == "STARTUP"}


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
    assert [curriculum.adaptation(x) for x in ([], ["improved"] * 9, ["regressed"] * 9, ["inconclusive"])] == [
        0,
        -10,
        10,
        0,
    ]


def test_outcomes_of_the_journal_are_those_that_are_judged() -> None:
    outcomes = {name.removeprefix("OUTCOME_").lower() for name in REASONS if name.startswith("OUTCOME_")}
    assert outcomes == {"improved", "regressed", "inconclusive"}
    assert outcomes & set(quality.HARM) == {"regressed"}


def test_a_record_of_version_0_1_counts_its_outcomes() -> None:
    verdict = passed("SCENARIO_COMPLETE", "")
    values = {"applied": [{"action": "a", "outcome": "harmed"}], "reasons": {"OUTCOME_HARMED": 1}}
    record = Record("1", 0.0, stages={"scenario": StageResult("scenario", verdict, values)})
    read = Record.from_dict(json.loads(json.dumps(record.as_dict())))
    assert quality.judged([read], "") == ["regressed"]
    assert read.values("scenario")["reasons"] == {"OUTCOME_REGRESSED": 1}


def test_quality_limits_follow_model_and_memory() -> None:
    assert [quality.model_class({"width": w, "layers": n}) for w, n in ((320, 8), (321, 8), (1024, 21))] == [
        "tiny",
        "medium",
        "large",
    ]
    assert [quality.memory_tier(mb) for mb in (2047, 2048, 4096)] == ["low", "mid", "high"]
    assert quality.longest_streak(["regressed", "failed", "inconclusive", "regressed"]) == 2


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


@pytest.mark.usefixtures("fast")
def test_acts_need_runs(artifacts: Path) -> None:
    with pytest.raises(flyball.NotFound):
        acts.set_baseline(Options(artifacts), 10)
