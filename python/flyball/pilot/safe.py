"""The map, and the safe functions of it that an agent may call. What they are given is a model's answer: checked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ROADS = {
    "mill": ("ford", "hill"),
    "ford": ("mill", "camp", "grove"),
    "hill": ("mill", "tower"),
    "camp": ("ford", "tower"),
    "grove": ("ford",),
    "tower": ("hill", "camp"),
}
PLACES = tuple(ROADS)


@dataclass(frozen=True)
class Refused:
    """Why an input was not given to the function."""

    why: str


def call(name: object, given: Mapping[str, object]) -> dict[str, Any] | Refused:
    """The output of a safe function; every input is checked before it runs, and a wrong one is refused."""
    function = FUNCTIONS.get(name) if isinstance(name, str) else None
    if function is None:
        return Refused(f"there is no function {str(name)[:40]!r}")
    places = []
    for argument in ("from", "to"):
        place = given.get(argument)
        if not isinstance(place, str) or place not in ROADS:
            return Refused(f"{argument} is {str(place)[:40]!r}, which is no place")
        places.append(place)
    return function(*places)


def way(start: str, end: str) -> list[str]:
    """The shortest way, both ends included; of several the first in the order of the roads."""
    before: dict[str, str] = {start: start}
    waiting = deque([start])
    while waiting and end not in before:
        here = waiting.popleft()
        for place in ROADS[here]:
            if place not in before:
                before[place] = here
                waiting.append(place)
    found = [end]
    while found[-1] != start:
        found.append(before[found[-1]])
    return found[::-1]


def _path(start: str, end: str) -> dict[str, Any]:
    return {"path": way(start, end)}


def _distance(start: str, end: str) -> dict[str, Any]:
    return {"distance": len(way(start, end)) - 1}


def _shared_neighbors(start: str, end: str) -> dict[str, Any]:
    return {"neighbors": [place for place in ROADS[start] if place in ROADS[end]]}


FUNCTIONS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "path": _path,
    "distance": _distance,
    "neighbors": _shared_neighbors,
}
