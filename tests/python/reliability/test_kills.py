"""Runs that are killed, or meet a full disk: what that leaves, and how the next run goes on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyball import _core, journal
from flyball.cli import main
from flyball.errors import FileError
from flyball.journal import journal as journal_files
from flyball.reliability import history, integrity, measure, runner
from flyball.reliability.runner import Options
from flyball.reliability.store import Store
from tests.python.reliability.conftest import ALWAYS

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


@pytest.mark.parametrize("stage", ALWAYS)
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
    assert len(ended) == ALWAYS.index(stage)
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
    assert store.interrupted({"profile": "other"}) == (None, [])


@pytest.mark.usefixtures("fast")
def test_damaged_files_of_an_interrupted_run_are_told(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(context: object) -> None:
        raise KeyboardInterrupt

    whole = dict(runner.STAGES)
    monkeypatch.setattr(runner, "STAGES", whole | {"curriculum": killed})
    for damaged in ("stages/coverage.json", "plan.json"):
        with pytest.raises(KeyboardInterrupt):
            runner.run(Options(artifacts))
        [left] = [folder for folder in (artifacts / "runs").iterdir() if not (folder / "SHA256SUMS").exists()]
        (left / damaged).write_text("{")
        monkeypatch.setattr(runner, "STAGES", whole)
        if damaged == "plan.json":  # nobody knows what was to be run
            record = runner.run(Options(artifacts))
            assert record.run != left.name
            cleared = [
                event.data["run"]
                for event in journal.read(artifacts / "journal.jsonl")
                if event.reason_id == "RUN_CLEARED"
            ]
            assert cleared == [left.name]
        else:
            with pytest.warns(UserWarning, match=r"coverage.json: cannot be read .* coverage runs again"):
                record = runner.run(Options(artifacts))
            assert record.run == left.name
            assert (left / "stages" / "coverage.json.damaged").read_text() == "{"
        assert record.passed("coverage")
        monkeypatch.setattr(runner, "STAGES", whole | {"curriculum": killed})


def test_a_full_disk_at_any_write_is_told_and_loses_nothing(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("preflight", "history", "scenario", "self_heal", "curriculum", "dashboard", "report")
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in wanted})
    monkeypatch.setattr(measure, "costs", lambda *_: {})  # takes most of the time, and writes nothing
    runner.run(Options(artifacts))
    n_writes, full_at = 0, -1

    def full(owner: Any, name: str, error: OSError) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def write(*values: Any, **named: Any) -> Any:
            nonlocal n_writes
            n_writes += 1
            if n_writes == full_at:
                raise error
            return real(*values, **named)

        monkeypatch.setattr(owner, name, write)

    no_space = os.strerror(errno.ENOSPC)
    full(_core, "write_file", FileError("the file", f"cannot write: {no_space}"))
    full(journal_files, "_append", OSError(errno.ENOSPC, no_space))
    full(history, "_write", FileError("history.jsonl", f"cannot be written: {no_space}"))
    for name in ("write_text", "write_bytes", "mkdir"):
        full(Path, name, OSError(errno.ENOSPC, no_space))
    for at in range(1, 100):
        copy = tmp_path / str(at)
        shutil.copytree(artifacts, copy)
        n_writes, full_at = 0, at
        code = main(["reliability", "run", "--artifacts", str(copy)])
        full_at = -1
        told = capsys.readouterr().err
        if n_writes < at:
            break
        assert (code, no_space in told, "internal error" in told) == (2, True, False), (at, told)
        n_before = len(Store(copy).history())
        runner.run(Options(copy))
        assert len(Store(copy).history()) == n_before + 1
        assert integrity.check(Store(copy), Store(copy).read())[0] == []
    assert 20 < at < 99
