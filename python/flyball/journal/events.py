"""What the core tells: events, each with a reason from the closed registry."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from .. import _core


class ReasonInfo(NamedTuple):
    """One row of the registry."""

    id: str
    family: str
    event: str
    meaning: str


REASONS: dict[str, ReasonInfo] = {row[0]: ReasonInfo(*row) for row in _core.reasons()}
DECIDING = ("AUTOTUNE", "GUARD", "SPECULATION", "POLICY", "CONFIDENCE", "PLAN", "APPLY", "BLOCK", "OUTCOME")
Reason = StrEnum("Reason", {name: name for name in REASONS})  # type: ignore[misc]  # the core's list, not ours


@dataclass(frozen=True)
class Event:
    """One line of a journal. `time_ns` since 1970; `session` and `turn` count from 1, 0 is none."""

    number: int
    time_ns: int
    cycles: int
    session: int
    turn: int
    event: str
    reason_id: str
    data: dict[str, Any]
    hash: str
    raw: str = field(repr=False)  # the data as it was written

    @property
    def is_decision(self) -> bool:
        """Whether a governor or a policy decided it; the others say what happened, or what a reliability run found."""
        return REASONS[self.reason_id].family in DECIDING

    @classmethod
    def from_core(cls, fields: dict[str, Any]) -> Event:
        """As JournalCheck.next() gives it."""
        return cls(**fields | {"data": json.loads(fields["data"]), "raw": fields["data"]})
