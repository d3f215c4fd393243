"""What a record took beside another, by agent and by part."""

from __future__ import annotations

from pathlib import Path

import pytest

import flyball
from flyball.pilot.agents import NAMES
from flyball.pilot.difference import REST, TURN, difference
from flyball.pilot.record import Record
from flyball.pilot.split import PARTS, Split
from flyball.pilot.stub import Times

from .scripted import CLASH, Clock, live, replayed, scripted


def test_the_added_time_of_each_agent_is_the_injected_delay(tmp_path: Path) -> None:
    _, path = live(tmp_path, 12)
    delays = {"event": 40.0, "map": 5.0, "world": 250.0, "judge": 1234.0}
    found = difference(replayed(path, 12, Times()), replayed(path, 12, Times(added_ms=delays)))
    added = {each.name: each for each in found.added}
    for name, delay in delays.items():
        assert added[name].added_ms == pytest.approx(delay, rel=0.05)
        assert added[name].parts["model"] == pytest.approx(delay, rel=0.05)
        assert added[name].beyond_chance == "slower"
    assert added[REST].added_ms == pytest.approx(0)
    assert added[TURN].added_ms == pytest.approx(sum(delays.values()), rel=0.05)
    assert found.notes == ()
    assert (found.n_equal_answers, found.n_equal_conflicts) == (48, 12)


def test_live_against_stub_is_what_the_live_models_took_by_a_direct_measurement(tmp_path: Path) -> None:
    from flyball.pilot import run
    from flyball.pilot.report import write

    from .scripted import PROFILE

    clock = Clock()
    models = scripted(clock, lambda turn, agent: 100.0 + 37 * (turn % 5) + 11 * len(agent))
    record = run.live(run.Plan(tmp_path, "test", 10), models, PROFILE, True, clock, lambda: 1.8e9)
    path, _ = write(tmp_path, record)
    found = difference(replayed(path, 10, Times()), Record.load(path))
    for each in found.added[: len(NAMES)]:
        direct = models[each.name].direct
        assert each.added_ms == pytest.approx(sum(direct) / len(direct), rel=0.05)
    assert found.verdicts == ("WATCH", "WATCH")


def test_parts_add_up_and_recorded_times_come_back(tmp_path: Path) -> None:
    record, path = live(tmp_path, 4)
    again = replayed(path, 4, Times(recorded=True))
    for one, other in zip(record.turns, again.turns, strict=True):
        assert other.turn_duration_ms == pytest.approx(one.turn_duration_ms)
        assert other.split.total == pytest.approx(other.turn_duration_ms)
        assert all(call.split.total == pytest.approx(call.latency_ms) for call in other.calls)
    found = difference(record, again)
    assert all(each.parts.keys() == set(PARTS) and each.added_ms == pytest.approx(0) for each in found.added)


def test_parts_never_exceed_their_total() -> None:
    assert Split.within(10, 4, 3, 2) == Split(4, 1, 3, 2)
    assert Split.within(10, 40, 3, 2) == Split(10, 0, 0, 0)
    assert Split.within(10, 4, 9, -1) == Split(4, 0, 6, 0)


def test_other_answers_are_no_difference_of_time_alone(tmp_path: Path) -> None:
    one, _ = live(tmp_path / "a", 3)
    other, _ = live(tmp_path / "b", 4, answers={"world": CLASH})
    found = difference(one, other)
    assert found.n_equal_conflicts == 0
    assert "answers or their questions differ" in found.notes[0]
    assert found.notes[-1] == "only the 3 common turns of 3 and 4 are compared"


def test_records_without_a_common_turn_are_an_error(tmp_path: Path) -> None:
    from dataclasses import replace

    record, _ = live(tmp_path, 1)
    later = replace(record, turns=(replace(record.turns[0], turn=9),))
    with pytest.raises(flyball.Error, match="common turn"):
        difference(record, later)
