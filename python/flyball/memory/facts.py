"""Facts that people state of themselves, in Turkish and English, by rules: no model guesses what to remember.

A rule reads a whole clause, so a question, a denial or something told of others is no fact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_READ = 2000  # characters of a message; longer ones are documents, and what they say is of somebody else

_CLAUSES = re.compile(r"(?<=[.!?])\s+|\n+|[,;]\s+|\s+(?:ve|and)\s+", re.IGNORECASE)
_GREETING = re.compile(
    r"(?:(?:merhaba|selam|hi|hello|hey|by the way|bu arada|please remember(?: that)?|unutma)\b[\s,:!.]*)+",
    re.IGNORECASE,
)
_WORDS = r"[^\W\d_][\w'’.-]*(?:\s+[^\W\d_][\w'’.-]*)"
_NAME, _PLACE, _WORK = _WORDS + "{0,3}", _WORDS + "{0,3}?", _WORDS + "{0,4}"
_RULES = tuple(
    (slot, re.compile(rule, re.IGNORECASE))
    for slot, rule in (
        ("name", rf"(?:benim\s+)?(?:adım|ismim)\s+({_NAME})"),
        ("name", rf"(?:my\s+name\s+is|my\s+name['’]s|i\s+am\s+called|i['’]m\s+called)\s+({_NAME})"),
        ("home", rf"(?:ben\s+)?({_PLACE})['’]?[dt][ae]\s+(?:yaşıyorum|oturuyorum)"),
        ("home", rf"(?:i\s+live|i\s+am\s+living|i['’]m\s+living)\s+in\s+({_NAME})"),
        ("age", r"(?:ben\s+)?(\d{1,3})\s+yaşındayım"),
        ("age", r"(?:i\s+am|i['’]m)\s+(\d{1,3})\s+years?\s+old"),
        ("work", rf"mesleğim\s+({_WORK})"),
        ("work", rf"(?:ben\s+)?({_WORK})\s+olarak\s+çalışıyorum"),
        ("work", rf"(?:i\s+work\s+as|my\s+job\s+is)\s+(?:an?\s+)?({_WORK})"),
    )
)
_NO_VALUE = re.compile(  # a question, a denial, or the words in another sense
    r"(?:not|no|what|who|where|on|in|at|the|a|an|adım|ne|kim|hangi|nere\w*)\b.*"
    r"|.*\b(?:değil\w*|ne|nedir|neydi|kim|kimdi|m[ıiuü]|m[ıiuü]y?d[ıiuü]r?|olsa|olsaydı|olsun)",
    re.IGNORECASE | re.DOTALL,
)
_STEP = re.compile(r"(?:adım|ismim)\b", re.IGNORECASE)  # adım is also a step: without "benim" a name is capitalized


@dataclass(frozen=True)
class Fact:
    """A clause as it was said, what it is about, and its value. A later fact of a slot takes an earlier one's place."""

    slot: str
    value: str
    text: str


def facts_in(message: str) -> list[Fact]:
    """The facts that a message states of whoever writes it, in its order."""
    return list(_facts(message)) if len(message) <= MOST_READ else []


def _facts(message: str) -> Iterator[Fact]:
    for clause in _CLAUSES.split(message):
        said = _GREETING.sub("", clause.strip(), count=1)
        if said.endswith("?"):
            continue
        said = said.rstrip(".! \t")
        for slot, rule in _RULES:
            if (match := rule.fullmatch(said)) and not _NO_VALUE.fullmatch(match[1]):
                if match[1][0].isupper() or not _STEP.match(said):
                    yield Fact(slot, match[1].rstrip("'’"), said)
                break
