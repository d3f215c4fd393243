"""The weekly page on hand-made records: pooled turns, trends, and where a new line begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball.load import alerts
from flyball.pilot import digest, load_alerts
from flyball.pilot.record import Record
from flyball.pilot.report import write
from flyball.scorecard.subjects import About

from .scripted import live

WEEK = 7 * 86400.0
FIRST = 1_700_000_000.0  # a Tuesday of 2023-W46
NONE = load_alerts.LoadAlerts("alerts.jsonl", False, (), 0)
ALERT = {
    "time": "2023-11-22T10:00:00Z", "component": "chat", "metric": "first_token", "observed": 4500.0,
    "threshold": "p(95)<3000", "severity": "warning",
}  # fmt: skip


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
    page = digest.markdown(records, 1, NONE)
    assert "| 2023-W47 | GO | no change beyond chance" in page
    assert "2023-W46 |" not in page  # --weeks 1
    text = digest.to_paste(records, NONE)
    assert text.startswith("2023-W47 live, scripted, ")
    assert ": GO. 60 turns in 1 run, turn p50 1030 ms, p95 1057 ms, map p95 10 ms" in text
    found = digest.as_dict(records, NONE)
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


def test_load_alerts_are_joined_by_week_and_component(made: Callable[..., Record], tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    for change in (
        {},
        {"metric": "checks", "threshold": "rate>0.95", "observed": 0.1},  # 9.5 times too low is worse than 1.5 times
        {"component": "page", "metric": "iteration_duration", "observed": None},  # it never came
        {"time": "2023-11-14T10:00:00Z"},
    ):
        alerts.append(path, ALERT | change)
    found = load_alerts.read(path)
    told = [(each.week, each.component, each.n, each.worst.said) for each in found.components]
    assert told == [
        ("2023-W46", "chat", 1, "first_token p(95)<3000: 4500"),
        ("2023-W47", "chat", 2, "checks rate>0.95: 0.1"),
        ("2023-W47", "page", 1, "iteration_duration p(95)<3000: never"),
    ]
    records = [made(1000), made(1000, 1)]
    text = digest.to_paste(records, found)
    assert "2023-W47 load alerts: 2 of chat, worst checks rate>0.95: 0.1; 1 of page, worst iteration" in text
    page = digest.markdown(records, 1, found)
    assert "| 2023-W47 | chat |" in page
    assert "| 2023-W46 | chat |" not in page
    said = json.loads(json.dumps(digest.as_dict(records, found), allow_nan=False))["load_alerts"]
    assert [each["worst"]["observed"] for each in said["weeks"]] == [4500.0, 0.1, None]


def test_no_load_alerts_are_told_as_that(made: Callable[..., Record], tmp_path: Path) -> None:
    records = [made(1000)]
    missing = load_alerts.read(tmp_path / "none.jsonl")
    assert "none.jsonl does not exist: no load run has written alerts there" in digest.markdown(records, 1, missing)
    assert "load alerts: none; " in digest.to_paste(records, missing)
    assert digest.to_paste(records, NONE).endswith("2023-W46 load alerts: none.\n")


@pytest.mark.parametrize(
    "change",
    [
        {"time": "yesterday"},
        {"time": 5},
        {"component": ["chat"]},
        {"threshold": "avg<3"},
        {"metric": None},
        {"observed": "4"},
        {"observed": True},
        {"observed": -1},
        {"observed": 10**400},
    ],
    ids=str,
)
def test_a_line_that_is_no_alert_is_counted(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_text(json.dumps(ALERT | change) + "\n" + json.dumps(ALERT) + "\n[]\n{\n")
    found = load_alerts.read(path)
    assert (len(found.components), found.n_broken) == (1, 3)
