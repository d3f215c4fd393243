"""The commands on what is no journal, or not the whole of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main

ACTIONS = ("verify", "show", "tail", "stats", "explain")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").touch()
    (tmp_path / "zeros").write_bytes(bytes(1_000_000))
    (tmp_path / "binary").write_bytes(bytes(i * i % 251 for i in range(300_000)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("action", [*(f"journal {action}" for action in ACTIONS), "replay"])
@pytest.mark.parametrize("name", ["folder", "pipe", "loop", "absent", "/dev/zero", "folder/below", "zeros/below"])
def test_what_is_no_file_is_one_line(folder: Path, action: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*action.split(), name]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"flyball: {name}: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("name", ["empty", "zeros", "binary"])
def test_what_has_no_line_of_a_journal_is_never_verified(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["journal", "verify", name]) == (2 if name == "empty" else 1)
    shown = capsys.readouterr()
    assert "verified" not in shown.out
    assert 0 < shown.out.count("\n") < 30
    assert main(["replay", name]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"flyball: {name}: has no readable event")


def test_a_line_without_end_costs_no_line_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with flyball.Journal(path) as kept:
        for n in range(4):
            kept.tell("HEAL_ACTIVE", {"n": n})
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + bytes(1_000_000) + b"\n" + b"".join(lines[2:]))
    faults: list[journal.Fault] = []
    assert [event.data["n"] for event in journal.read(path, faults)] == [0, 2, 3]
    assert [(fault.line, fault.what) for fault in faults] == [(2, "is too long")]


def test_a_replay_of_a_part_is_not_called_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j"
    with flyball.Journal(path) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        model.generate("x", 2)
    assert main(["replay", str(path)]) == 0
    assert capsys.readouterr().out.startswith("verified: ")
    path.write_bytes(path.read_bytes().replace(b'"MODEL_LOADED"', b'"MODEL_LOADER"'))
    assert main(["replay", str(path)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"skipped: {path}:1: was changed")
    assert "not the whole journal, but no mismatch in the rest" in shown
    assert main(["replay", str(path), "--json"]) == 1
    assert '"verified": false' in capsys.readouterr().out


def test_the_log_of_a_damaged_journal_is_compared_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, log = tmp_path / "j", tmp_path / "log"
    with flyball.Journal(path, log=log) as kept:
        for n in range(4):
            kept.tell("HEAL_ACTIVE", {"n": n})
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7').replace(b'"n": 1', b'"n": 7'))
    assert [fault.file for fault in journal.check(path, log).faults] == [path]
    log.write_bytes(log.read_bytes().replace(b"n=3", b"n=4"))
    assert [fault.file for fault in journal.check(path, log).faults] == [path, log]
    for name in ("/dev/zero", str(tmp_path), "absent"):
        assert main(["journal", "verify", str(path), "--log", name]) in (1, 2)
        assert "Traceback" not in "".join(capsys.readouterr())


def test_a_log_goes_on_when_its_journal_begins_later(tmp_path: Path) -> None:
    """Rotation has deleted the oldest file; or the journal was set aside."""
    path, log = tmp_path / "j", tmp_path / "log"
    with flyball.Journal(path, 2000, 2, log=log) as kept:
        for n in range(30):
            kept.tell("HEAL_ACTIVE", {"n": n})
            kept.flush()
    assert journal.check(path, log).verified
    path.unlink()
    with pytest.warns(RuntimeWarning, match="set aside"), flyball.Journal(path, log=log) as kept:
        kept.tell("HEAL_ACTIVE", {"n": 30})
    assert journal.check(path, log).verified
    assert log.read_text().count("\n") == 32
    log.write_bytes(log.read_bytes().replace(b"set_aside", b"set"))
    assert [fault.file for fault in journal.check(path, log).faults] == [log]


def test_events_of_the_journal_itself_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with flyball.Journal(tmp_path / "run.jsonl") as made:
        made.tell("JOURNAL_HEAD_MISSING", {"n_lines": 3, "hash": "0" * 64})
        made.tell("JOURNAL_SET_ASIDE", {"files": ["run.jsonl.broken-1"], "n_lines": 3, "hash": "", "fault": "torn"})
        made.tell("AUDIT_SIGNED", {"id": "a1", "key": "b2", "issued": "", "statement": ""})
    assert main(["journal", "explain", str(tmp_path / "run.jsonl")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines if "head was missing" in line or "could not go on" in line]
    assert "receipt a1 was signed with key b2" in lines[-1]
    assert len(lines) == 3
