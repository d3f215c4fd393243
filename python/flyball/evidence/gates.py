"""Verdicts: pass, fail or inconclusive, each with a reason from the registry and its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..journal.events import REASONS, current_id


class Outcome(StrEnum):
    """Inconclusive never passes: the evidence does not suffice to judge."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """A gate's verdict. `evidence`: the numbers and the limits that they were compared with, as plain JSON.

    passed(), failed() and inconclusive() make one; one that was read may have a reason of a newer version.
    """

    outcome: Outcome
    reason_id: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    hint: str = ""

    @property
    def meaning(self) -> str:
        """Of the reason, in one line."""
        return REASONS[self.reason_id].meaning if self.reason_id in REASONS else "a reason of another version"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "outcome": str(self.outcome),
            "reason_id": self.reason_id,
            "message": self.message,
            "evidence": self.evidence,
            "hint": self.hint,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Verdict:
        """From as_dict() of this version or version 0.1."""
        outcome = fields["outcome"]
        for name, kind in (("reason_id", str), ("message", str), ("evidence", dict), ("hint", str)):
            if not isinstance(fields[name], kind):
                raise ValueError(f"{name} is {str(fields[name])[:60]!r}, which is of another type")
        return cls(
            Outcome.INCONCLUSIVE if outcome == "undecided" else Outcome(outcome),
            current_id(fields["reason_id"]),
            fields["message"],
            fields["evidence"],
            fields["hint"],
        )


def passed(reason_id: str, message: str, **evidence: Any) -> Verdict:
    """The gate passes."""
    return _made(Outcome.PASS, reason_id, message, evidence)


def failed(reason_id: str, message: str, hint: str = "", **evidence: Any) -> Verdict:
    """The gate fails."""
    return _made(Outcome.FAIL, reason_id, message, evidence, hint)


def inconclusive(reason_id: str, message: str, hint: str = "", **evidence: Any) -> Verdict:
    """The evidence does not suffice to judge."""
    return _made(Outcome.INCONCLUSIVE, reason_id, message, evidence, hint)


def _made(outcome: Outcome, reason_id: str, message: str, evidence: dict[str, Any], hint: str = "") -> Verdict:
    if reason_id not in REASONS:
        raise ValueError(f"{reason_id} is not in the registry of reasons")
    return Verdict(outcome, reason_id, message, evidence, hint)
