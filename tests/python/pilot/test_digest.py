"""The weekly page on hand-made records: pooled turns, trends, and where a new line begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball.pilot import digest
from flyball.pilot.record import Record
from flyball.pilot.report import write
from flyball.scorecard.subjects import About

from .scripted import live

WEEK = 7 * 86400.0
FIRST = 1_700_000_000.0  # a Tuesday of 2023-W46


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Record]:
    """made(ms, week, n): a record with turns of this length in this week."""
    base, _ = live(tmp_path / "base", 1)

    def make(ms: float, week: int = 0, n: int = 30, **change: object) -> Record:
        turn = base.turns[0]
        turns = tuple(replace(turn, turn=i, turn_duration_ms=ms + i) for i in range(1, n + 1))
        return replace(base, time=FIRST + week * WEEK, turns=turns, **change)  # type: ignore[arg-type]

    return make


def test_weeks_of_a_line_pool_their_runs_and_tell_the_trend(made: Callable[..., Record]) -> None:
    records = [made(1000), made(1000), made(1001, 1), made(1001, 1), made(2000, 2, 60), made(500, 4, 60)]
    (line,) = digest.lines(records)
    assert [week.week for week in line.weeks] == ["2023-W46", "2023-W47", "2023-W48", "2023-W50"]
    assert [(week.n_runs, week.n_turns) for week in line.weeks] == [(2, 60), (2, 60), (1, 60), (1, 60)]
    trends = [week.trend for week in line.weeks]
    assert trends[0] == "a new line"
    assert trends[1].startswith("no change beyond chance, +")
    assert trends[2].startswith("slower, +")
    assert trends[3].startswith("faster, -")
    assert {week.decision.verdict for week in line.weeks} == {"GO"}  # 60 turns, though no run has 59


@pytest.mark.parametrize(
    "change",
    [{"scene": "0" * 64}, {"mode": "stub"}, {"machine": "another"}, {"seed": 1}, {"random_choice": True}],
    ids=lambda change: next(iter(change)),
)
def test_a_change_begins_a_new_line(made: Callable[..., Record], change: dict[str, object]) -> None:
    lines = digest.lines([made(1000), made(1000, 1, **change)])
    assert len(lines) == 2
    assert [line.weeks[0].trend for line in lines] == ["a new line"] * 2
    assert lines[0].weeks[0].week == "2023-W47"  # the newest first


def test_another_model_begins_a_new_line_and_another_tag_does_not(made: Callable[..., Record]) -> None:
    one = made(1000)
    other = made(1000, models=dict(one.models) | {"judge": About("scripted", fingerprint="cd")})
    assert len(digest.lines([one, other])) == 2
    assert len(digest.lines([one, made(1000, 1, tag="other", build="other")])) == 1


def test_the_page_and_the_text_to_paste(made: Callable[..., Record]) -> None:
    records = [made(1000, 0, 3), made(1000, 1, 60)]
    page = digest.markdown(records, 1)
    assert "| 2023-W47 | GO | no change beyond chance" in page
    assert "2023-W46 |" not in page  # --weeks 1
    text = digest.to_paste(digest.lines(records))
    assert text.startswith("2023-W47 live, scripted, ")
    assert ": GO. 60 turns in 1 run, turn p50 1030 ms, p95 1057 ms, map p95 10 ms" in text
    found = digest.as_dict(records)
    assert [week["verdict"] for week in found["lines"][0]["weeks"]] == ["WATCH", "GO"]


def test_no_record_is_overlooked(made: Callable[..., Record], tmp_path: Path) -> None:
    with pytest.raises(flyball.Error, match="no folder"):
        digest.read_all([tmp_path / "nowhere"])
    folder = tmp_path / "reports"
    folder.mkdir()
    with pytest.raises(flyball.Error, match="no records"):
        digest.read_all([folder])
    names = {write(folder, made(1000))[0].name for _ in range(2)}
    assert names == {"perf_report_20231114-221320.json", "perf_report_20231114-221320-2.json"}
    assert len(digest.read_all([folder])) == 2
    (folder / "perf_report_x.json").write_text("{}")
    with pytest.raises(flyball.Error, match="perf_report_x"):
        digest.read_all([folder])
