"""The kill switch: in force at once, also while a run goes on, and whatever is killed in between."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyball import files, journal
from flyball.cli import main
from flyball.evidence.gates import passed
from flyball.journal import journal as journal_files
from flyball.reliability import acts, history, integrity, latch, runner
from flyball.reliability.context import Context
from flyball.reliability.results import StageResult
from flyball.reliability.runner import Options
from flyball.reliability.store import Store

WAITING = """
import sys, time
from pathlib import Path
from flyball.reliability import runner
artifacts = sys.argv[1]
def waits(context):
    print("going on", flush=True)
    while not Path(artifacts, "go").exists():
        time.sleep(0.02)
    return real(context)
real = runner.STAGES["curriculum"]
wanted = ("preflight", "history", "self_heal", "curriculum")
runner.STAGES = {name: runner.STAGES[name] for name in wanted} | {"curriculum": waits}
runner.run(runner.Options(artifacts))
"""


def going_on(artifacts: Path) -> subprocess.Popen[str]:
    """A run that waits behind self_heal, with its lock held."""
    process = subprocess.Popen([sys.executable, "-c", WAITING, str(artifacts)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "going on\n"
    return process


def is_latched(artifacts: Path) -> bool:
    """In force: as a state, and as a bound of the policy."""
    options = Options(artifacts)
    text = options.store.limits_path.read_text() if options.store.limits_path.exists() else ""
    return bool(latch.state(options).get("latched")) and 'policy.auto_apply = "off"' in text


def resets(artifacts: Path) -> int:
    return sum(record.act == "reset" for record in Store(artifacts).history())


def test_a_latch_is_in_force_while_a_run_goes_on_and_afterwards(
    artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with going_on(artifacts) as process:
        assert main(["reliability", "reset", "--latch", "--artifacts", str(artifacts)]) == 0
        assert process.poll() is None  # it did not wait for the run
        assert "a run is going on" in capsys.readouterr().out
        assert is_latched(artifacts)
        assert main(["reliability", "reset", "--active", "--artifacts", str(artifacts)]) == 2
        (artifacts / "go").touch()
    assert process.returncode == 0
    assert is_latched(artifacts)
    assert resets(artifacts) == 1
    assert not (artifacts / "latch.json").exists()
    assert all(record.heal["latched"] for record in Store(artifacts).history())
    told = [event for event in journal.read(artifacts / "journal.jsonl") if event.reason_id == "HEAL_RESET"]
    assert len(told) == 1
    assert integrity.check(Store(artifacts), Store(artifacts).read())[0] == []


def test_a_latch_outlives_the_run_that_was_to_record_it(artifacts: Path, fast: None) -> None:
    with going_on(artifacts) as process:
        assert main(["reliability", "reset", "--latch", "--artifacts", str(artifacts)]) == 0
        process.kill()
    assert is_latched(artifacts)
    after = runner.run(Options(artifacts))
    assert after.stages["self_heal"].verdict.reason_id == "HEAL_LATCHED"
    assert is_latched(artifacts)
    assert resets(artifacts) == 1


class Killed(BaseException):
    """In place of SIGKILL: what is written is written, what follows never happens."""


class Points:
    """Counts every step that touches the disk, and dies before the one that was chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n, self.at = 0, -1
        for owner, name in (
            (files, "write"),
            (history, "_write"),
            (journal_files, "_append"),
            (Path, "unlink"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*values: Any, **named: Any) -> Any:
            self.n += 1
            if self.n == self.at:
                raise Killed
            return real(*values, **named)

        return step

    def arm(self, at: int) -> None:
        self.n, self.at = 0, at


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runner, "STAGES", {name: runner.STAGES[name] for name in ("preflight", "history", "self_heal", "curriculum")}
    )


def test_a_reset_that_is_killed_anywhere_leaves_a_latch_or_what_was(
    artifacts: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(Options(artifacts))
    points, at, outcomes = Points(monkeypatch), 0, set()
    while True:
        at += 1
        copy = tmp_path / str(at)
        shutil.copytree(artifacts, copy)
        points.arm(at)
        try:
            acts.reset(Options(copy), latch_it=True)
        except Killed:
            points.arm(-1)
            fired = (copy / "latch.json").exists() or resets(copy)
            outcomes.add(bool(fired))
            assert is_latched(copy) == bool(fired)
            runner.run(Options(copy))
            assert is_latched(copy) == bool(fired)
            assert resets(copy) == bool(fired)
            assert journal.check(copy / "journal.jsonl", copy / "journal.log").verified
        else:
            break
    assert outcomes == {True, False}
    assert at > 5
    assert is_latched(copy)


def test_a_run_that_is_killed_anywhere_behind_a_latch_keeps_it(
    artifacts: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(Options(artifacts))
    points, at = Points(monkeypatch), 0

    def fires(context: Context) -> StageResult:
        points.arm(-1)
        latch.fire(Options(context.root), "somebody")
        points.arm(at)
        return StageResult("curriculum", passed("CURRICULUM_SET", ""), {"threshold": 60})

    whole = dict(runner.STAGES)
    while True:
        at += 1
        copy = tmp_path / str(at)
        shutil.copytree(artifacts, copy)
        monkeypatch.setattr(runner, "STAGES", whole | {"curriculum": fires})
        try:
            runner.run(Options(copy))
        except Killed:
            points.arm(-1)
            assert is_latched(copy)
            monkeypatch.setattr(runner, "STAGES", whole)
            runner.run(Options(copy))
            assert is_latched(copy)
            assert resets(copy) == 1
        else:
            break
    assert at > 8
    assert is_latched(copy)
    assert resets(copy) == 1


def test_a_run_that_is_killed_anywhere_is_no_damage(
    artifacts: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(Options(artifacts))
    points, at = Points(monkeypatch), 0
    while True:
        at += 1
        copy = tmp_path / str(at)
        shutil.copytree(artifacts, copy)
        points.arm(at)
        try:
            runner.run(Options(copy))
        except Killed:
            points.arm(-1)
            for _ in range(2):
                assert integrity.check(Store(copy), Store(copy).read())[0] == []
                assert runner.run(Options(copy)).passed("history")
            assert journal.check(copy / "journal.jsonl", copy / "journal.log").verified
        else:
            break
    assert at > 8


def test_a_run_continues_no_state_that_a_person_has_changed(artifacts: Path, fast: None) -> None:
    """A run killed behind self_heal had "active" on the disk; the latch came later, and stays."""
    with going_on(artifacts) as process:
        process.kill()
    acts.reset(Options(artifacts), latch_it=True)
    record = runner.run(Options(artifacts))
    assert record.heal["latched"]
    assert is_latched(artifacts)


def test_a_latch_bounds_the_policies_that_runs_have_used(artifacts: Path, tmp_path: Path, short: None) -> None:
    mine = tmp_path / "mine.toml"
    runner.run(Options(artifacts, policy_file=mine))
    acts.reset(Options(artifacts), latch_it=True)
    assert 'policy.auto_apply = "off"' in (tmp_path / "mine.toml.limits").read_text()


def test_a_latch_is_in_force_when_the_history_cannot_be_read(artifacts: Path) -> None:
    (artifacts / "history.jsonl").mkdir(parents=True)
    assert main(["reliability", "reset", "--latch", "--artifacts", str(artifacts)]) == 2  # it cannot be recorded
    (artifacts / "history.jsonl").rmdir()
    assert is_latched(artifacts)


def test_other_acts_leave_the_bounds_as_they_are(artifacts: Path, short: None) -> None:
    runner.run(Options(artifacts))
    before = (artifacts / "policy.toml.limits").read_text()
    acts.accept(Options(artifacts), "as intended")
    assert (artifacts / "policy.toml.limits").read_text() == before
    assert integrity.check(Store(artifacts), Store(artifacts).read())[0] == []
