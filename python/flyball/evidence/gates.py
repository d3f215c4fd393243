"""Verdicts: numbers in, pass, fail or undecided out, with a reason from the registry and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..journal.events import REASONS


class Outcome(StrEnum):
    """Undecided is no pass: what was seen does not suffice to say."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """What a gate says. `evidence`: the numbers and the limits that they were held against, plain JSON."""

    outcome: Outcome
    reason_id: str
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    hint: str = ""

    def __post_init__(self) -> None:
        if self.reason_id not in REASONS:
            raise ValueError(f"{self.reason_id} is not in the registry of reasons")

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
        """As as_dict() gives it."""
        return cls(**{**fields, "outcome": Outcome(fields["outcome"])})


def passed(reason_id: str, message: str, **evidence: Any) -> Verdict:
    """It holds."""
    return Verdict(Outcome.PASS, reason_id, message, evidence)


def failed(reason_id: str, message: str, hint: str = "", **evidence: Any) -> Verdict:
    """It does not hold."""
    return Verdict(Outcome.FAIL, reason_id, message, evidence, hint)


def undecided(reason_id: str, message: str, hint: str = "", **evidence: Any) -> Verdict:
    """It cannot be told."""
    return Verdict(Outcome.UNDECIDED, reason_id, message, evidence, hint)
