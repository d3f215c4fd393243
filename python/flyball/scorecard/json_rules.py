"""Rules for answers that must be JSON and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .rules import Rule, short

Test = Callable[[Any], bool]


def json_object(members: Mapping[str, Test]) -> Rule:
    """Only an object with exactly these members in this order, each once and as its test wants it."""

    def rule(text: str) -> str:
        value, wrong = _parsed(text)
        if wrong:
            return wrong
        if not isinstance(value, dict):
            return f"is no JSON object: {short(text)}"
        if list(value) != list(members):
            return f"has the keys {short(', '.join(value))}, must have {', '.join(members)}"
        return next(
            (f"{name} is {short(str(value[name]))}" for name, test in members.items() if not test(value[name])), ""
        )

    return rule


def json_array(test: Test) -> Rule:
    """Only an array that the test accepts."""

    def rule(text: str) -> str:
        value, wrong = _parsed(text)
        return wrong or ("" if isinstance(value, list) and test(value) else f"is not the JSON array: {short(text)}")

    return rule


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_texts(least: int, most: int) -> Test:
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(is_text, value))


def equals(wanted: object) -> Test:
    """This value, of this type: true is not 1."""
    return lambda value: type(value) is type(wanted) and bool(value == wanted)


def _parsed(text: str) -> tuple[Any, str]:
    """The value, or why the text is not JSON alone. A fence around it is extra text."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a key is there twice")
        return members

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse), ""
    except (ValueError, RecursionError) as error:
        return None, f"is not JSON alone: {short(str(error))}"
