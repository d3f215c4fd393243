"""Every file of the runs, damaged in every way, one at a time: status tells it, and nothing healthy is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.cli import main
from flyball.reliability import acts, integrity, runner
from flyball.reliability.runner import Options
from flyball.reliability.store import Store
from tests.python.reliability.conftest import FAST
from tests.python.reliability.test_history import record

_EMPTY = {"lock", "limits.lock"}


@pytest.fixture(scope="module")
def folder(after_a_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs and two acts; the policy is bounded."""
    path = tmp_path_factory.mktemp("whole") / "artifacts"
    shutil.copytree(after_a_run, path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in FAST})
        acts.reset(Options(path), latch_it=True)
        runner.run(Options(path))
        acts.reset(Options(path), latch_it=False)
    return path


def damages(raw: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Contents in place of these; None: the file is removed."""
    yield "removed", None
    yield "emptied", b""
    yield "a bit in the middle", raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :]
    lines = raw.splitlines(keepends=True)
    if raw.endswith(b"\n"):
        yield "final newline removed", raw[:-1]
    if len(lines) > 1:
        yield "first line removed", b"".join(lines[1:])
        yield "last line removed", b"".join(lines[:-1])
        yield "last line torn", raw[: -(len(lines[-1]) // 2)]
    for n in range(1, len(lines) - 1)[:3]:
        yield f"line {n + 1} removed", b"".join(lines[:n] + lines[n + 1 :])


def test_every_damage_is_told_and_nothing_healthy_is_lost(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> tuple[int, str]:
        code = main(["reliability", "status", "--artifacts", str(folder)])
        return code, capsys.readouterr().out

    assert status()[0] == 0
    whole = Store(folder).history()
    n_cases, silent = 0, []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _EMPTY):
        raw = path.read_bytes()
        for what, content in damages(raw):
            n_cases += 1
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            code, out = status()
            told = [line for line in out.splitlines() if line.startswith("damaged: ") and path.name in line]
            if code != 1 or not told:
                silent.append(f"{path.relative_to(folder)}: {what}: {code} {out[-300:]}")
            if path.name == "history.jsonl":
                left = Store(folder).history()
                n_healthy = len(set((content or b"").split(b"\n")) & set(raw.split(b"\n")) - {b""})
                assert len(left) >= n_healthy
                assert all(each in whole for each in left)
                assert path.exists() == (content is not None)
                assert content is None or path.read_bytes() == content  # status changes nothing
            else:
                assert Store(folder).history() == whole
            path.write_bytes(raw)
    assert silent == []
    assert n_cases >= 200
    assert status()[0] == 0


def test_appending_keeps_every_line_of_a_damaged_history(folder: Path, tmp_path: Path) -> None:
    names = ("history.jsonl", "history.jsonl.head")
    raw = (folder / names[0]).read_bytes()
    for n, (what, content) in enumerate(damages(raw)):
        copy = tmp_path / str(n)
        copy.mkdir()
        for name in names:
            shutil.copy(folder / name, copy / name)
        if content is None:
            (copy / names[0]).unlink()
        else:
            (copy / names[0]).write_bytes(content)
        Store(copy).append(record("next", "quarantined"))
        kept = (copy / names[0]).read_bytes() + b"".join(path.read_bytes() for path in copy.glob("*.torn-*"))
        assert all(line in kept for line in (content or b"").split(b"\n")), what
        assert Store(copy).history()[-1].run == "next"
        assert Store(copy).history()[-1].damage, what  # told in the record, too


def test_a_run_tells_damage_and_restores_the_bounds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fast: None
) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(folder, copy)
    bounds = (copy / "policy.toml.limits").read_text()
    (copy / "policy.toml.limits").unlink()
    assert main(["reliability", "run", "--artifacts", str(copy)]) == 1
    told = capsys.readouterr()
    assert "HISTORY_DAMAGED" in told.out
    assert "policy.toml.limits: is missing" in told.err
    newest = Store(copy).history()[-1]
    assert (copy / "runs" / newest.run / "scenario" / "policy.toml.limits").read_text() == bounds
    assert newest.damage == ["policy.toml.limits: is missing"]
    assert integrity.check(Store(copy), Store(copy).read())[0] == []


def test_folders_of_old_runs_may_be_gone(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CI keeps the history and its files, but not the folders of the runs."""
    copy = tmp_path / "artifacts"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("runs"))
    assert main(["reliability", "status", "--artifacts", str(copy)]) == 0
    assert "note: the folders of 2 runs are not here" in capsys.readouterr().out


def test_damage_can_be_accepted(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(folder, copy)
    next((copy / "runs").glob("*/plan.json")).unlink()
    words = ["reliability", "accept", "--artifacts", str(copy), "--why", "moved by hand", "--who", "Ada"]
    assert main(["reliability", "status", "--artifacts", str(copy)]) == 1
    assert main([*words, "--damage"]) == 0
    assert "accepted 1 damaged places by Ada: moved by hand" in capsys.readouterr().out
    assert main(["reliability", "status", "--artifacts", str(copy)]) == 0
    assert "note: 1 places are damaged and accepted" in capsys.readouterr().out
    assert main([*words, "--damage"]) == 2  # there is no more
    next((copy / "runs").glob("*/stages/preflight.json")).unlink()
    assert main(["reliability", "status", "--artifacts", str(copy)]) == 1
