"""The frozen scene: its state, what the figures' deeds make of it, and the snapshot that each turn leaves.

state, schema 1, kind "pilot-state": {schema, kind, scene, turn, at, supplies, cards}
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from .. import files
from ..bench.fields import SCHEMA, Fields, dump
from ..errors import FormatError
from .agents import AGENTS, FIGURES, sha256_of
from .safe import PLACES, ROADS

CHOICES = ("go on", "wait", "turn back")
_EXCLUSIVE = ("gather", "guard")  # only one figure at a place may
_RULES = 1  # counts changes of what the functions here and in safe.py do

# Two records of equal scenes asked the same questions under the same rules.
SCENE = sha256_of([_RULES, ROADS, CHOICES, _EXCLUSIVE, [astuple(agent) for agent in AGENTS]])


@dataclass(frozen=True)
class State:
    """After `turn` turns. `at`: the place of each figure; `cards`: share cards that were made."""

    turn: int
    at: Mapping[str, str]
    supplies: int
    cards: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: Fields) -> State:
        """From JSON (untrusted)."""
        at = found.sub("at")
        at.only(*FIGURES)
        places = {name: at.text(name) for name in FIGURES}
        for name, place in places.items():
            if place not in PLACES:
                at.wrong(name, f"is {place[:40]!r}, which is no place")
        most = 1_000_000
        turn = found.integer("turn", 0, most)
        return cls(turn, places, found.integer("supplies", 0, most), found.integer("cards", 0, turn))


START = State(0, dict(zip(FIGURES, PLACES, strict=False)), 0, 0)


def save(path: Path, state: State) -> None:
    """Write the snapshot atomically: whoever reads it has the whole turn or the one before."""
    files.write(path, dump({"schema": SCHEMA, "kind": "pilot-state", "scene": SCENE} | state.as_dict()))


def load(path: Path) -> State:
    """The state that was saved, or the beginning."""
    if not path.exists():
        return START
    found = Fields.read(path, "pilot-state")
    if found.text("scene") != SCENE:
        raise FormatError(str(path), "is the state of another scene; --reset-state begins anew")
    return State.of(found)


def choice_of(seed: int, turn: int, at_random: bool) -> str:
    """What the players choose: the same for the same seed and turn, whatever was chosen before."""
    return random.Random(f"{seed}:{turn}").choice(CHOICES) if at_random else CHOICES[0]


def conflicts_of(deeds: Mapping[str, Mapping[str, str]]) -> int:
    """Pairs of figures who claim one place in one turn."""
    claims = [deed["to"] for deed in deeds.values() if deed["do"] in _EXCLUSIVE]
    return sum(one == other for one, other in combinations(claims, 2))


def after(state: State, deeds: Mapping[str, Mapping[str, str]], judged: Mapping[str, Any]) -> State:
    """The state after a turn. A deed out of reach, and one whose place others claim too, does nothing."""
    turn, cards = state.turn + 1, state.cards + bool(judged["share"])
    if judged["verdict"] != "accept":
        return replace(state, turn=turn, cards=cards)
    claims = [deed["to"] for deed in deeds.values() if deed["do"] in _EXCLUSIVE]
    at, supplies = dict(state.at), state.supplies
    for name, deed in deeds.items():
        place = deed["to"]
        if deed["do"] == "rest" or place not in (at[name], *ROADS[at[name]]):
            continue
        if deed["do"] == "move" or claims.count(place) == 1:
            at[name] = place
            supplies += deed["do"] == "gather"
    return State(turn, at, supplies, cards)
