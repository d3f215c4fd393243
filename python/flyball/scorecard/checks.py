"""Checks: a question, and the rules that its answer must keep."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .rules import Rule

GROUPS = ("follow", "coherent", "grounded")
MOST_CHARACTERS = 20_000  # no answer that was asked for is near it; it bounds what rules cost


class Judged(NamedTuple):
    """Whether an answer keeps the rules; `why` not, or ""."""

    passed: bool
    why: str


@dataclass(frozen=True)
class Check:
    """`example`: an answer that passes. The answer's seeds are `seed`, `seed` + 1 and so on."""

    id: str
    group: str
    prompt: str
    rules: tuple[Rule, ...]
    example: str
    seed: int
    max_tokens: int

    def judge(self, answer: str) -> Judged:
        """Judge an answer; white space around it does not count."""
        if len(answer) > MOST_CHARACTERS:
            return Judged(False, f"has {len(answer)} characters")
        text = answer.replace("\r\n", "\n").strip()
        if not text:
            return Judged(False, "is empty")
        if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text):
            return Judged(False, "has control characters")
        why = next(filter(None, (rule(text) for rule in self.rules)), "")
        return Judged(not why, why)


def all_checks() -> tuple[Check, ...]:
    """Every check of the scorecard."""
    from . import coherent, follow, grounded

    return (*follow.checks(), *coherent.checks(), *grounded.checks())


def digest_of(checks: Iterable[Check]) -> str:
    """SHA-256 of what is asked: cards with the same one can be compared.

    Rules are code, so EDITION stands for them.
    """
    asked = [[check.id, check.group, check.prompt, check.seed, check.max_tokens] for check in checks]
    return hashlib.sha256(json.dumps([EDITION, asked]).encode()).hexdigest()


EDITION = 1  # one more whenever a rule judges otherwise than before
