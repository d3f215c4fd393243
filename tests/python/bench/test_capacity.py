"""docs/scale.md shows what bench.capacity computes from the committed measurements."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.capacity.__main__ import main

ROOT = Path(__file__).parents[3]
RESULT = ROOT / "bench" / "results" / "capacity" / "2026-12-01.json"
PAGE = (ROOT / "docs" / "scale.md").read_text()


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["bench.capacity", *words])
    main()
    return [line for line in capsys.readouterr().out.splitlines() if line]


@pytest.mark.parametrize("words", [("plan", "{}"), ("check", "{}"), ("plan", "{}", *["--look", "5", "--cell", "1000"])])
def test_the_page_shows_what_is_computed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    lines = printed(capsys, monkeypatch, *(word.format(RESULT) for word in words))
    wanted = [line for line in lines if line.startswith("|")] if "--look" not in words else lines[-11:]
    assert len(wanted) >= 8
    assert [line for line in wanted if line not in PAGE] == []


def test_a_fleet_is_simulated(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(capsys, monkeypatch, "simulate", str(RESULT), "--sizes", "3", "--seconds", "60")
    assert lines[-1].startswith("| 3 | 1 | 100% |")


def test_too_many_replicas_for_an_edges_looks_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="looks at 2000 replicas take"):
        printed(capsys, monkeypatch, "simulate", str(RESULT), "--sizes", "2000")
