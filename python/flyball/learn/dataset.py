"""The data set: approved examples as training reads them, and why each of the others stays out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..paths import AnyPath
from ..store.examples import Example
from ..store.question import is_held_out, of_json, plain
from .analysis import contradictory
from .similar import near_between, near_pairs

MOST_PER_VOTER = 500
_ROLES = ("system", "user", "assistant")
_WEIGHT = 1.0


@dataclass(frozen=True)
class DataSet:
    """Examples to train on, others to test with, and ids that are neither, by reason.

    No question of `held_out` is in `train`, nor one that nearly is.
    """

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal of the lines to train on."""
        return hashlib.sha256(_text(self.train)).hexdigest()

    def save(self, path: AnyPath, held_out: AnyPath | None = None) -> Path:
        """Write the lines to train on and, where a path is given, those held out. Raises FileError."""
        if held_out is not None:
            files.write(held_out, _text(self.held_out))
        return files.write(path, _text(self.train))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ids alone, as an adapter's manifest has them."""
        ids = {"rows": [each.id for each in self.train], "held_out": [each.id for each in self.held_out]}
        return {"digest": self.digest, **ids, "left_out": self.left_out}


def build(examples: Iterable[Example], most_per_voter: int = MOST_PER_VOTER) -> DataSet:
    """From examples in any state and any order. The same ones give the same data set.

    Of approved ones whose question's hash falls to testing, and of those that a person held out, none is trained on.
    """
    rows = sorted(examples, key=lambda each: (each.created, each.id))
    held_keys = {each.question_key for each in rows if each.held_out is not None}
    sieve = _Sieve([each for each in rows if each.state == "approved"])
    sieve.drop("not trainable", filter(_is_unfit, sieve.rows))
    sieve.drop("repeated", _repeats(sieve.rows))
    sieve.drop("contradicted", (each for those in contradictory(sieve.rows).values() for each in those))
    tested = [each for each in sieve.rows if each.question_key in held_keys or is_held_out(each.question_key)]
    sieve.drop("held out, without a right answer", (each for each in tested if not each.answer))
    held = [each for each in rows if each.state == "held_out" and each.answer]
    held += sieve.taken(each for each in tested if each.answer)
    near = near_between([plain(each.question) for each in sieve.rows], [plain(each.question) for each in held])
    sieve.drop("near a held-out question", [sieve.rows[i] for i in near])
    twins = [j for _, j, _ in near_pairs([_whole(each) for each in sieve.rows])]
    sieve.drop("nearly repeated", [sieve.rows[j] for j in twins])
    sieve.drop("beyond its voter's share", _beyond(sieve.rows, most_per_voter))
    return DataSet(tuple(sieve.rows), tuple(held), sieve.left_out)


class _Sieve:
    """Rows, of which some go at each step."""

    def __init__(self, rows: list[Example]) -> None:
        self.rows = rows
        self.left_out: dict[str, list[str]] = {}

    def taken(self, those: Iterable[Example]) -> list[Example]:
        ids = {each.id for each in those}
        gone = [each for each in self.rows if each.id in ids]
        self.rows = [each for each in self.rows if each.id not in ids]
        return gone

    def drop(self, reason: str, those: Iterable[Example]) -> None:
        if gone := self.taken(those):
            self.left_out[reason] = [each.id for each in gone]


def line_of(example: Example) -> dict[str, Any]:
    """A row as training reads it."""
    question = of_json(example.question)
    return {
        "id": example.id,
        "prompt" if isinstance(question, str) else "messages": question,
        "answer": example.answer,
        "rejected": example.rejected if example.rejected != example.answer else None,
        "kind": example.kind,
        "weight": _WEIGHT,
    }


def _text(examples: Iterable[Example]) -> bytes:
    lines = (json.dumps(line_of(each), ensure_ascii=False, sort_keys=True) + "\n" for each in examples)
    return "".join(lines).encode()


def _is_unfit(example: Example) -> bool:
    """Half a surrogate pair, roles that training does not know, no answer where one is needed."""
    question = of_json(example.question)
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
    texts = [example.answer, example.rejected or "", *(each["content"] for each in messages)]
    return (
        any("\ud800" <= each <= "\udfff" for text in texts for each in text)
        or any(each["role"] not in _ROLES for each in messages)
        or messages[-1]["role"] == "assistant"
        or not (example.rejected if example.kind == "bad" else example.answer)
    )


def _repeats(rows: list[Example]) -> list[Example]:
    """All but the first of those that say the same of one question."""
    seen: set[tuple[str, str, str]] = set()
    again = []
    for each in rows:
        said = (each.question_key, each.answer.strip(), "" if each.answer else str(each.rejected).strip())
        if said in seen:
            again.append(each)
        seen.add(said)
    return again


def _beyond(rows: list[Example], most: int) -> list[Example]:
    """Those after the first `most` of each voter."""
    n: Counter[str] = Counter()
    beyond = []
    for each in rows:
        n[each.voter] += 1
        if n[each.voter] > most:
            beyond.append(each)
    return beyond


def _whole(example: Example) -> str:
    return f"{plain(example.question)} {example.answer} {example.rejected or ''}"
