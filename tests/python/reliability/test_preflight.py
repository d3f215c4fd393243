"""What a run needs: memory and room, as the engine and the kernel see them. And that gaps name their files."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from flyball import _core
from flyball.cli import main
from flyball.engine.model import demo_model_path
from flyball.evidence.gates import passed
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import StageResult
from flyball.reliability.stages import coverage


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def run(artifacts: Path) -> int:
    return main(["reliability", "run", "--artifacts", str(artifacts), "--only", "scenario"])


def test_page_cache_is_no_used_memory(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has read many files has few free pages, and all the memory that programs want."""
    of = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_AVPHYS_PAGES" else of(name))
    assert run(artifacts) == 0
    available, total = _core.memory()
    assert available is not None
    assert total is not None
    assert 0 < available <= total


def test_little_memory_and_no_room_are_told(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the engine sees them: within the limits of control groups, and of quotas, which free space does not show."""
    monkeypatch.setattr(_core, "memory", lambda: (9 << 20, 1 << 30))
    assert run(artifacts) == 2
    told = capsys.readouterr().out
    assert "PREFLIGHT_MISSING" in told
    assert "memory: 9 MiB are available, a run with" in told
    monkeypatch.undo()

    def refused(*_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    assert run(artifacts) == 2
    told = capsys.readouterr().out
    assert "cannot take 256 MiB: Disk quota exceeded" in told
    assert str(artifacts) in told


def test_a_model_that_would_only_fail_at_boot_is_told(
    artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copy(demo_model_path(), tmp_path / "m\u00fcller.gguf"))
    words = ["--target", "qemu", "--model", str(model), "--only", "scenario", "--artifacts", str(artifacts)]
    assert main(["reliability", "run", *words]) == 2
    told = capsys.readouterr().out
    assert "PREFLIGHT_MISSING" in told
    assert f"{model} " in told
    assert "scenario" not in told.splitlines()[-2]


def test_gaps_name_their_files(artifacts: Path, tmp_path: Path) -> None:
    assert run(artifacts) == 0
    folder = next((artifacts / "runs").iterdir())
    scene = StageResult("scenario", passed("SCENARIO_COMPLETE", ""), {"folder": str(folder / "scenario")})
    context = Context("r", folder, tmp_path, PROFILES["quick"], results={"scenario": scene})
    assert coverage.run(context).verdict.outcome == "pass"
    log, kept = folder / "scenario" / "log.txt", folder / "scenario" / "journal.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert f"flyball journal verify {kept} --log {log}" in coverage.run(context).verdict.hint
    log.unlink()
    assert str(log) in coverage.run(context).verdict.message
