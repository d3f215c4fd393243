"""Choices of a journal, made again from what was recorded beside each of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError
from ..journal.events import REASONS, Event
from .choice import Question, choose


@dataclass(frozen=True)
class Difference:
    """The choice of an event is not the one that its question leads to."""

    number: int
    recorded: Mapping[str, Any]
    chosen: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """`repeated`: requests that came again, which went where they went before."""

    n_choices: int
    repeated: int
    differences: tuple[Difference, ...]


def replay(events: Iterable[Event]) -> Report:
    """Make all choices of a journal again. Raises FormatError for a question that is none."""
    n = repeated = 0
    differences = []
    for event in events:
        if REASONS[event.reason_id].event != "route":
            continue
        n += 1
        if "question" not in event.data:
            repeated += 1
            continue
        try:
            again = choose(Question.from_dict(event.data["question"])).as_dict()
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"event {event.number}", f"has no question that can be asked again: {error}") from None
        if _plain(again) != _plain(event.data["choice"]) or again["reason"] != event.reason_id:
            differences.append(Difference(event.number, event.data["choice"], again))
    return Report(n, repeated, tuple(differences))


def _plain(choice: Mapping[str, Any]) -> object:
    return json.loads(json.dumps(choice))
