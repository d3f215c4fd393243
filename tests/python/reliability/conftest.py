"""What the tests of reliability share: a folder, and stages that take no seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.reliability import runner

ALWAYS = [name for name in runner.STAGES if name not in ("journals", "release")]
FAST = (
    "preflight",
    "history",
    "scenario",
    "startup",
    "metrics",
    "coverage",
    "reason_drift",
    "quality",
    "self_heal",
    "curriculum",
)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """The folder of the runs, which does not exist yet."""
    return tmp_path / "artifacts"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that take no seconds."""
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in FAST})


@pytest.fixture(scope="session")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder after one whole run; to be copied."""
    path = tmp_path_factory.mktemp("after") / "artifacts"
    runner.run(runner.Options(path))
    return path
