"""A command of a round: what it gave, and what becomes of one that fails, hangs or is left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flyball.round import process
from flyball.round.plan import Step


def step(*words: str) -> Step:
    return Step("one", "one", words, 0.1)


def test_its_output_is_kept(tmp_path: Path) -> None:
    seen: list[float] = []
    ended = process.run(step("--version"), tmp_path / "a" / "out.txt", 600, seen.append)
    assert (ended.code, ended.said) == (0, "")
    assert ended.output.read_text().startswith("flyball ")
    assert seen[0] < 1


def test_an_error_is_told_in_its_own_words(tmp_path: Path) -> None:
    ended = process.run(step("verify", "none.json"), tmp_path / "out.txt", 600, lambda _: None)
    assert ended.code == 2
    assert ended.why_not == "flyball: none.json: does not exist"


def test_the_environment_is_passed_on(tmp_path: Path) -> None:
    ended = process.run(step("config"), tmp_path / "out.txt", 600, lambda _: None, {"FLYBALL_MAX_TOKENS": "77"})
    assert "max_tokens = 77" in ended.output.read_text()
    assert "FLYBALL_MAX_TOKENS" not in os.environ


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # which nobody writes
    ended = process.run(step("verify", str(pipe)), tmp_path / "out.txt", 1.0, lambda _: None)
    assert ended.code is None
    assert "was ended after 1 s" in ended.why_not


def test_what_ends_the_round_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*words: Any, **how: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **how))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.run(step("verify", str(pipe)), tmp_path / "out.txt", 600, stop)
    assert started[0].poll() is not None
