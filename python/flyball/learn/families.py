"""Families: questions that are alike but for their numbers and quotations, such as all sums of two numbers."""

from __future__ import annotations

import re

from ..folding import fold
from ..store.question import plain

_MOST = 80  # characters of a name


def family_of(question: str, label: str | None = None) -> str:
    """Of a question as the store has it: its label, else its shape, as in "what is # - #"."""
    if label:
        return label
    shape = re.sub(r'"[^"]*"|“[^”]*”|«[^»]*»', '"…"', fold(plain(question)))
    return re.sub(r"\d+(?:[.,]\d+)*", "#", shape).rstrip(" .?!")[:_MOST]
