"""The scene: safe functions, conflicts, states and what a poor answer does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import pytest

import flyball
from flyball.pilot import safe, scene
from flyball.pilot.agents import AGENTS, NAMES, fits
from flyball.pilot.record import Record

from .scripted import ANSWERS, CLASH, live

STATE = scene.START


@pytest.mark.parametrize(("start", "end"), list(product(safe.PLACES, repeat=2)))
def test_ways_follow_the_roads(start: str, end: str) -> None:
    way = safe.way(start, end)
    assert (way[0], way[-1]) == (start, end)
    assert all(there in safe.ROADS[here] for here, there in pairwise(way))
    assert len(way) == len(safe.way(end, start))
    assert safe.call("distance", {"from": start, "to": end}) == {"distance": len(way) - 1}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("remove", {"from": "mill", "to": "ford"}),
        (["path"], {"from": "mill", "to": "ford"}),
        ("path", {"from": "mill", "to": "moon"}),
        ("path", {"from": ["mill"], "to": "ford"}),
        ("path", {"from": "mill"}),
    ],
)
def test_a_wrong_input_is_refused_before_the_function_runs(name: object, given: dict[str, object]) -> None:
    assert isinstance(safe.call(name, given), safe.Refused)


def test_conflicts_are_pairs_who_claim_one_place() -> None:
    assert scene.conflicts_of(CLASH) == 3
    assert scene.conflicts_of(ANSWERS["world"]) == 0
    assert scene.conflicts_of(CLASH | {"cy": {"do": "move", "to": "ford"}}) == 1


def test_a_deed_out_of_reach_or_in_conflict_does_nothing() -> None:
    accept = ANSWERS["judge"]
    after = scene.after(STATE, ANSWERS["world"], accept)
    assert (after.turn, after.supplies, after.cards) == (1, 1, 1)
    assert after.at == {"ada": "ford", "bo": "mill", "cy": "hill"}
    assert scene.after(STATE, CLASH, accept).at == STATE.at
    far = {"ada": {"do": "move", "to": "tower"}}
    assert scene.after(STATE, far, accept).at == STATE.at
    rejected = scene.after(STATE, ANSWERS["world"], accept | {"verdict": "reject"})
    assert (rejected.at, rejected.supplies, rejected.turn) == (STATE.at, 0, 1)


@pytest.mark.parametrize("agent", AGENTS, ids=NAMES)
def test_what_does_not_fit_a_schema_is_replaced_by_a_fallback_that_does(agent) -> None:  # type: ignore[no-untyped-def]
    assert fits(agent.schema, agent.fallback)
    assert agent.read(json.dumps(ANSWERS[agent.name])) == (ANSWERS[agent.name], True)
    good = ANSWERS[agent.name]
    name = next(iter(good))
    hostile = ["", "{", "[]", "null", "{}", json.dumps(good | {"more": 1}), json.dumps(good | {name: [1]}), "[" * 10**5]
    for text in [*hostile, json.dumps(good | {name: None}), json.dumps(good | {name: "\ud800"}), '{"a": NaN}']:
        assert agent.read(text) == (agent.fallback, False)


def test_a_game_goes_on_with_unusable_answers(tmp_path: Path) -> None:
    record, path = live(tmp_path, 2, answers=dict.fromkeys(NAMES, "I would rather not."))
    assert not any(call.usable for turn in record.turns for call in turn.calls)
    assert json.loads(path.read_text())["summary"]["n_unusable"] == 8
    assert Record.load(path) == record


def test_choices_are_the_seeds_alone() -> None:
    drawn = [scene.choice_of(7, turn, True) for turn in range(40)]
    assert drawn == [scene.choice_of(7, turn, True) for turn in range(40)]
    assert set(drawn) == set(scene.CHOICES)
    assert {scene.choice_of(7, turn, False) for turn in range(40)} == {scene.CHOICES[0]}


KILLED = """
import os, signal, sys
from pathlib import Path
from flyball.pilot import run
from tests.python.pilot.scripted import PROFILE, Clock, scripted

def delay(turn, agent):
    if (turn, agent) == (3, "world"):
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0

clock = Clock()
run.live(run.Plan(Path(sys.argv[1]), "test", 5), scripted(clock, delay), PROFILE, False, clock)
"""


def test_a_game_that_was_killed_goes_on_after_its_last_whole_turn(tmp_path: Path) -> None:
    from flyball.pilot import run

    from .scripted import PROFILE, Clock, scripted

    root = Path(__file__).parents[3]
    words = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(words, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=False)
    assert done.returncode == -signal.SIGKILL
    plan = run.Plan(tmp_path, "test", 3)
    assert scene.load(plan.snapshot("live")).turn == 2
    clock = Clock()
    models = scripted(clock, lambda *_: 10.0)
    rest = run.live(plan, models, PROFILE, False, clock, lambda: 1.8e9)
    whole, _ = live(tmp_path / "whole", 5)
    assert [turn.turn for turn in rest.turns] == [3, 4, 5]
    asked = [(name, call.question, call.text) for name, call in rest.calls.items()]
    assert asked == [(name, call.question, call.text) for name, call in whole.calls.items()][2 * len(NAMES) :]
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["test.live.json"]  # no half of one beside it


def test_a_state_is_whole_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert scene.load(path) == scene.START
    state = scene.after(STATE, ANSWERS["world"], ANSWERS["judge"])
    scene.save(path, state)
    assert scene.load(path) == state
    stored = json.loads(path.read_text())
    hostile: list[dict[str, object]] = [
        {"turn": -1},
        {"turn": True},
        {"at": {}},
        {"at": {"ada": "moon", "bo": "mill", "cy": "mill"}},
        {"scene": "0" * 64},
        {"kind": "pilot"},
        {"cards": 2},
        {"supplies": None},
    ]
    for change in hostile:
        path.write_text(json.dumps(stored | change))
        with pytest.raises(flyball.Error):
            scene.load(path)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(flyball.Error):
        scene.load(path)
