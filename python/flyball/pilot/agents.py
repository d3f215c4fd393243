"""The agents of the scene: what each is asked, and the schema of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..bench.fields import parse
from ..errors import FormatError
from .safe import FUNCTIONS, PLACES

FIGURES = ("ada", "bo", "cy")
DEEDS = ("move", "gather", "guard", "rest")
EVENTS = ("storm", "trader", "harvest", "quarrel", "quiet")
_MOST_LINE = 40  # characters


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


_LINE = {"type": "string", "maxLength": _MOST_LINE}
_DEED = _object(do=_one_of(*DEEDS), to=_one_of(*PLACES))
_REST = {"do": "rest", "to": PLACES[0]}


@dataclass(frozen=True)
class Agent:
    """`asks`: its prompt, with the turn's facts in braces; `fallback`: taken if an answer does not fit the schema."""

    name: str
    asks: str
    schema: Mapping[str, Any]
    max_tokens: int
    fallback: Mapping[str, Any]

    def prompt(self, facts: Mapping[str, object]) -> str:
        """What it is asked in a turn."""
        return self.asks.format_map(facts)

    def read(self, text: str) -> tuple[Mapping[str, Any], bool]:
        """An answer, and whether it could be used. Not every server keeps to a schema that it was given."""
        try:
            value = parse(self.name, text)
        except FormatError:
            return self.fallback, False
        if isinstance(value, dict) and fits(self.schema, value):
            return value, True
        return self.fallback, False


def fits(schema: Mapping[str, Any], value: object) -> bool:
    """Whether a value is valid under one of the scene's schemas."""
    kind = schema["type"]
    if kind == "object":
        members = schema["properties"]
        return (
            isinstance(value, dict)
            and value.keys() == members.keys()
            and all(fits(members[name], value[name]) for name in members)
        )
    if kind == "boolean":
        return isinstance(value, bool)
    if not isinstance(value, str) or len(value) > schema.get("maxLength", _MOST_LINE):
        return False
    if any("\ud800" <= c <= "\udfff" for c in value):  # JSON can write it, a prompt cannot have it
        return False
    return "enum" not in schema or value in schema["enum"]


AGENTS = (
    Agent(
        "event",
        "Turn {turn} at the {scout}. The players chose to {choice}. What happens, where, in one short line?",
        _object(event=_one_of(*EVENTS), place=_one_of(*PLACES), line=_LINE),
        96,
        {"event": "quiet", "place": PLACES[0], "line": ""},
    ),
    Agent(
        "map",
        "There is a {event} at the {place}. ada is at the {scout}. Which function of the map should be called?",
        _object(call=_one_of(*FUNCTIONS), **{"from": _one_of(*PLACES), "to": _one_of(*PLACES)}),
        80,
        {"call": "distance", "from": PLACES[0], "to": PLACES[0]},
    ),
    Agent(
        "world",
        "There is a {event} at the {place}: {line} The map says {map}. ada is at the {ada}, bo at the {bo}, cy at the"
        " {cy}. What does each of them do?",
        _object(**dict.fromkeys(FIGURES, _DEED)),
        144,
        dict.fromkeys(FIGURES, _REST),
    ),
    Agent(
        "judge",
        "There was a {event} at the {place}. {deeds} There are {conflicts} conflicts. Is this turn accepted, and is it"
        " worth a card to share?",
        _object(verdict=_one_of("accept", "reject"), share={"type": "boolean"}, line=_LINE),
        96,
        {"verdict": "reject", "share": False, "line": ""},
    ),
)
NAMES = tuple(agent.name for agent in AGENTS)


def sha256_of(value: object) -> str:
    """Of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
