"""history.jsonl: what is read of a damaged one, which state follows, and what appending leaves."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.cli import main
from flyball.evidence.gates import Verdict, passed
from flyball.reliability import history
from flyball.reliability.results import Record, StageResult
from flyball.reliability.store import Store

GOLDEN = Path(__file__).parents[2] / "golden" / "v0.1" / "reliability" / "history.jsonl"


def record(run: str, mode: str = "active", **heal: Any) -> Record:
    stages = {"coverage": StageResult("coverage", passed("COVERAGE_PASSED", "told"), {"n": 1}, 0.5)}
    return Record(run, 1e9, stages=stages, heal={"mode": mode, **heal})


def written(folder: Path, *modes: str) -> Path:
    """A history with these states, its last line without hashes in front of it."""
    store = Store(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for n, mode in enumerate(modes):
        store.append(record(f"run-{n}", mode))
    return store.history_path


def unsealed(folder: Path, *modes: str) -> Path:
    """The same as version 0.1 wrote it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.jsonl"
    new = ("by", "files", "bounds", "damage", "prev_hash")
    rows = [record(f"run-{n}", mode).as_dict() for n, mode in enumerate(modes)]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k not in new}) + "\n" for row in rows))
    return path


def read(path: Path) -> history.History:
    return history.read(path)


def names(path: Path) -> list[str]:
    return [each.run for each in read(path).records]


@pytest.mark.parametrize("write", [written, unsealed])
def test_the_last_record_counts_without_its_newline(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path, "active", "quarantined")
    path.write_bytes(path.read_bytes()[:-1])
    found = read(path)
    assert (names(path), found.state["mode"]) == (["run-0", "run-1"], "quarantined")
    assert "history.jsonl:2: has no newline; the record counts" in map(str, found.damage)
    Store(tmp_path).append(record("run-2", "quarantined"))
    assert names(path) == ["run-0", "run-1", "run-2"]
    assert read(path).damage == []
    assert read(path).records[-1].damage == ["history.jsonl:2: has no newline; the record counts"]


@pytest.mark.parametrize("write", [written, unsealed])
@pytest.mark.parametrize("cut", [2, 20, 100, 300])
def test_a_torn_record_never_frees_the_policy(tmp_path: Path, write: Any, cut: int) -> None:
    path = write(tmp_path, "active", "quarantined")
    torn = path.read_bytes()[:-cut]
    path.write_bytes(torn)
    found = read(path)
    assert [each.run for each in found.records] == ["run-0"]
    assert found.state["mode"] == "quarantined"
    assert found.state["needed"] > 0
    assert any("is incomplete" in each.what for each in found.damage)
    Store(tmp_path).append(record("run-2", found.state["mode"]))
    aside = tmp_path / "history.jsonl.torn-1"
    assert aside.read_bytes() == torn.split(b"\n")[-1]
    assert names(path) == ["run-0", "run-2"]
    assert read(path).damage == []


@pytest.mark.parametrize("write", [written, unsealed])
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"", "is blank"),
        (b"   ", "is blank"),
        (b"<<<<<<< HEAD", "mark of a conflict"),
        (b"nonsense", "is not a record"),
        (b"[]", "is not a record"),
        (b"{}", "is not a record"),
        (b"\xff\xfe", "is not a record"),
        (b"[" * 100_000, "is not a record"),
        (b'{"schema": 2, "run": "x"}', "another version"),
        (b'{"schema": 1, "run": "x"}', "is not a record"),
        (b'{"schema": 1, "stages": []}', "another type"),
    ],
)
def test_a_line_that_cannot_be_read_is_skipped_told_and_kept(
    tmp_path: Path, write: Any, line: bytes, what: str
) -> None:
    path = write(tmp_path, "active", "canary", "active")
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    before = path.read_bytes()
    assert names(path) == ["run-0", "run-1", "run-2"]
    assert read(path).state["mode"] == ("canary" if line.startswith(b"<") else "active")  # the strictest of both sides
    assert what in str(read(path).damage[0])
    assert read(path).damage[0].where == "history.jsonl:2"
    Store(tmp_path).append(record("run-3"))
    assert path.read_bytes().startswith(before)
    assert names(path) == ["run-0", "run-1", "run-2", "run-3"]
    assert read(path).damage[0].where == "history.jsonl:2"  # each time
    assert read(path).state["mode"] == "active"  # the last record was written with that in view
    assert main(["reliability", "history", "--artifacts", str(tmp_path)]) == 0
    assert main(["reliability", "status", "--artifacts", str(tmp_path)]) == 1


def test_two_merged_histories_have_the_stricter_state(tmp_path: Path) -> None:
    """A line-by-line merge without marks: both sides follow the same line."""
    path = written(tmp_path, "active")
    (tmp_path / "ours").mkdir()
    for name in ("history.jsonl", "history.jsonl.head"):
        (tmp_path / "ours" / name).write_bytes((tmp_path / name).read_bytes())
    Store(tmp_path / "ours").append(record("latch", "quarantined", latched=True))
    Store(tmp_path).append(record("run-1", "active"))
    lines = path.read_bytes().splitlines(keepends=True)
    ours = (tmp_path / "ours" / "history.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + ours[1] + lines[1])
    assert len(read(path).records) == 3
    assert read(path).state["latched"]
    assert any("does not follow" in each.what for each in read(path).damage)


@pytest.mark.parametrize("end", [1, 2])
def test_a_missing_end_is_found_and_never_frees_the_policy(tmp_path: Path, end: int) -> None:
    path = written(tmp_path, "active", "quarantined", "quarantined")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-end]))
    assert any(f"{end} lines are missing" in each.what for each in read(path).damage)
    assert read(path).state["mode"] == "quarantined"
    path.unlink()
    assert read(path).state["mode"] == "quarantined"
    assert main(["reliability", "status", "--artifacts", str(tmp_path)]) == 1


def test_an_altered_state_is_not_believed(tmp_path: Path) -> None:
    path = written(tmp_path, "active", "quarantined")
    path.write_bytes(path.read_bytes().replace(b'"mode": "quarantined"', b'"mode": "active"'))
    assert read(path).state["mode"] == "quarantined"
    assert "history.jsonl:2: was altered: its hash is another" in map(str, read(path).damage)


def test_a_crash_between_line_and_head_is_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path, "active")
    head = history.head_path(path).read_bytes()
    Store(tmp_path).append(record("run-1"))
    history.head_path(path).write_bytes(head)
    assert (names(path), read(path).damage) == (["run-0", "run-1"], [])


@pytest.mark.parametrize("n_lines", [0, 1, -1, 4])
def test_a_head_of_another_time_is_found(tmp_path: Path, n_lines: int) -> None:
    path = written(tmp_path, "active", "active", "active")
    lines = path.read_bytes().splitlines()
    last = hashlib.sha256(lines[n_lines - 1]).hexdigest() if n_lines in (1, 2, 3) else ""
    history.head_path(path).write_text(json.dumps({"version": 1, "hash": last, "n_lines": n_lines}) + "\n")
    assert len(read(path).damage) == 1
    assert len(read(path).records) == 3


def test_a_reason_of_a_newer_version_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(passed("COVERAGE_PASSED", "").outcome, "COVERAGE_OF_TOMORROW", "told", {"limits": 3})
    values = {"limits": [3, {"name": 4}], "provenance": "x"}
    tmp_path.joinpath("history.jsonl").write_text(
        json.dumps(Record("r", 1.0, stages={"coverage": StageResult("coverage", verdict, values)}).as_dict()) + "\n"
    )
    assert names(tmp_path / "history.jsonl") == ["r"]
    for action in ("status", "explain", "history"):
        assert main(["reliability", action, "--artifacts", str(tmp_path)]) == 0
        assert "COVERAGE_OF_TOMORROW" in capsys.readouterr().out or action == "history"


@pytest.mark.parametrize("time", ["NaN", "1e300", "-1e300", "Infinity", "1" + "0" * 400, "-1"])
def test_a_time_that_is_none_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str], time: str) -> None:
    path = unsealed(tmp_path, "active")
    path.write_text(path.read_text().replace("1000000000.0", time))
    for words in (["status"], ["history"], ["explain"], ["status", "--json"], ["history", "--json"]):
        assert main(["reliability", *words, "--artifacts", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert "no date" in out or "--json" in words or time == "-1"
        if words == ["status", "--json"]:
            json.loads(out)


@pytest.mark.parametrize("field", ["run", "time", "target", "profile", "machine", "subjects", "stages", "heal", "act"])
@pytest.mark.parametrize("value", ["null", "[1]", "true", '"x"', "3", "{}", '{"a": {"b": 1}}'])
def test_a_field_of_another_type_is_told_not_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: str
) -> None:
    path = unsealed(tmp_path, "active", "active")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0][field] = json.loads(value)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for action in ("status", "history", "explain"):
        code = main(["reliability", action, "--artifacts", str(tmp_path)])
        err = capsys.readouterr().err
        assert "internal error" not in err
        assert code == (1 if action == "status" and len(names(path)) == 1 else 0)


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.head", "policy.toml.limits", "lock", "runs"])
def test_a_folder_for_a_file_or_a_file_for_a_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    written(tmp_path, "active")
    path = tmp_path / name
    path.unlink(missing_ok=True)
    if name == "runs":
        path.write_text("")
    else:
        path.mkdir()
    for action in ("status", "run"):
        main(["reliability", action, "--artifacts", str(tmp_path)])
        told = capsys.readouterr()
        assert "internal error" not in told.err
        if action == "run":
            assert name in told.err + told.out


def test_names_have_no_order_and_are_never_used_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set back: a new run follows those of tomorrow all the same."""
    store = Store(tmp_path)
    monkeypatch.setattr("time.gmtime", lambda *_: (2026, 11, 29, 12, 0, 0, 6, 333, 0))
    store.append(record(store.new_name()))
    monkeypatch.setattr("time.gmtime", lambda *_: (2026, 11, 28, 12, 0, 0, 5, 332, 0))
    store.append(record(store.new_name(), "quarantined"))
    monkeypatch.setattr("time.gmtime", lambda *_: (2026, 11, 29, 12, 0, 0, 6, 333, 0))
    store.append(record(store.new_name(), "canary"))
    assert names(store.history_path) == ["20261129-120000-000", "20261128-120000-000", "20261129-120000-001"]
    assert store.read().state["mode"] == "canary"


FULL = """
import resource, signal, sys
from flyball.reliability.store import Store
from flyball.reliability.results import Record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    store.append(Record("run-9", 1.0, heal={"mode": "quarantined"}))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_write_that_fails_half_way_loses_nothing(tmp_path: Path) -> None:
    """As on a full disk: the system writes a part of the line, then refuses."""
    assert resource.RLIM_INFINITY == -1
    path = written(tmp_path, "active", "quarantined")
    before = path.read_bytes()
    command = [sys.executable, "-c", FULL, str(tmp_path), str(len(before) + 40)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"FileError {path}: cannot be written: ")
    assert path.read_bytes() == before
    assert read(path).damage == []


def test_a_history_of_version_0_1_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(GOLDEN.read_bytes())
    before = read(path)
    assert before.records
    assert before.damage == []
    Store(tmp_path).append(record("new"))
    assert path.read_bytes().startswith(GOLDEN.read_bytes())
    assert read(path).damage == []
    assert read(path).records[:-1] == before.records


def test_a_history_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(flyball.FileError, match=r"history.jsonl: cannot be read"):
        Store(tmp_path).read()
