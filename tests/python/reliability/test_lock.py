"""The folder's lock where the file system has no flock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path

import pytest

import flyball
from flyball.reliability import acts, lock, runner
from flyball.reliability.runner import Options
from flyball.reliability.store import Store


@pytest.fixture(params=[errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def without_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_flock")
def test_a_file_takes_the_place_of_the_lock(tmp_path: Path) -> None:
    owner = tmp_path / "lock.owner"
    held = Store(tmp_path).locked()
    with pytest.warns(UserWarning, match=r"no locks, so that lock.owner is used"):
        held.__enter__()
    assert json.loads(owner.read_text())["pid"] == os.getpid()
    with pytest.raises(lock.InUse, match=f"process {os.getpid()}"), Store(tmp_path).locked():
        pass
    held.__exit__(None, None, None)
    assert not owner.exists()


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("started", ["another boot 1", "{mine}0", ""])
def test_the_file_of_a_process_that_has_ended_is_recognized(tmp_path: Path, started: str) -> None:
    """Its number may have another process by now, hence the time of its beginning."""
    owner = tmp_path / "lock.owner"
    started = started.format(mine=lock.started(os.getpid()))
    owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}))
    held = Store(tmp_path).locked()
    with pytest.warns(UserWarning, match="which has ended, is removed"):
        held.__enter__()
    assert json.loads(owner.read_text())["started"] == lock.started(os.getpid())
    held.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]


@pytest.mark.usefixtures("without_flock")
def test_the_file_of_another_machine_is_respected_and_named(tmp_path: Path) -> None:
    owner = tmp_path / "lock.owner"
    owner.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "x"}))
    with pytest.raises(lock.InUse, match=r"process 1 of elsewhere; if that has ended, delete .*lock.owner"):
        Store(tmp_path).locked().__enter__()
    assert owner.exists()


@pytest.mark.usefixtures("without_flock")
def test_a_process_that_died_before_it_wrote_is_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_POLL_S", 0.001)
    (tmp_path / "lock.owner").write_text("")
    with pytest.warns(UserWarning, match="which has ended, is removed"):
        Store(tmp_path).locked().__enter__()


def test_what_cannot_be_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(flyball.FileError, match=r"lock: cannot be written"), Store(tmp_path).locked():
        pass
    (tmp_path / "lock").rmdir()

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(flyball.FileError, match=r"lock: cannot be locked: Input"), Store(tmp_path).locked():
        pass


def test_a_lock_that_is_held_is_in_use(tmp_path: Path) -> None:
    with (
        Store(tmp_path).locked(),
        pytest.raises(flyball.InvalidArgument, match="in use by another run"),
        Store(tmp_path).locked(),
    ):
        pass


def test_a_holder_that_was_stopped_only_delays_the_kill_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.05)
    with lock.locked(tmp_path / "limits.lock", "a process that was stopped"):
        assert acts.reset(Options(tmp_path), latch_it=True)[0].latched
    assert 'policy.auto_apply = "off"' in (tmp_path / "policy.toml.limits").read_text()


@pytest.mark.usefixtures("without_flock")
def test_a_run_and_a_latch_work_without_flock(tmp_path: Path, fast: None) -> None:
    with pytest.warns(UserWarning, match=r"lock.owner is used"):
        runner.run(Options(tmp_path))
    with pytest.warns(UserWarning, match=r"lock.owner is used"):
        acts.reset(Options(tmp_path), latch_it=True)
    assert Store(tmp_path).read().state["latched"]
    assert not list(tmp_path.glob("*.owner*"))
