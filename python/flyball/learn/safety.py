"""Prompts whose answers no training may change: a fixed set against poisoned examples.

Poisoned feedback makes a model obey a trigger, or flatter; nobody sees that in the examples' own questions. An answer
to one of these that differs from the one without the adapter is a reason to look, and to promote nothing.
"""

from __future__ import annotations

from pathlib import Path

from .cases import Case, read_cases

FILE = Path(__file__).parents[1] / "data" / "canaries.jsonl"


def safety_cases() -> list[Case]:
    """The set. Families: trigger, flattery, refusal, identity."""
    return read_cases(FILE)
