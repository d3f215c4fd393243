"""Approved corrections in prompts, at once and before any training: earlier turns whose answer is the right one."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import FormatError
from ..files import read
from ..paths import AnyPath, expanded
from ..store.question import of_json
from .words import searchable

if TYPE_CHECKING:
    from ..store import Example as Row
    from ..store import Project

SHOWN_KINDS = ("correction", "good")
MOST_EXAMPLES = 2000  # the newest ones, of which a prompt's are chosen
_MOST_BYTES = 64 << 20
_LEAST_LIKENESS = 0.3  # cosine of trigrams, numbers counted as equal


@dataclass(frozen=True)
class Example:
    """A question and its right answer."""

    id: str
    question: str
    right: str

    @cached_property
    def plain(self) -> str:
        """The question as it is compared for being the same."""
        return _plain(self.question)

    @cached_property
    def shape(self) -> Counter[str]:
        """The question as it is compared for being alike."""
        return _shape(self.question)


class Examples(Protocol):
    """Where approved examples are."""

    def all(self) -> Iterable[Example]:
        """The newest ones, oldest first."""


class FileExamples:
    """JSON lines in the form that training takes, read once."""

    def __init__(self, path: AnyPath) -> None:
        self._name = expanded(path)
        lines = read(path, _MOST_BYTES).split(b"\n")
        found = [self._of(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        self._all = [example for example in found if example is not None][-MOST_EXAMPLES:]

    def all(self) -> Sequence[Example]:
        """Of the file."""
        return self._all

    def _of(self, number: int, line: bytes) -> Example | None:
        """None: a line of another kind, or a chat of several turns."""
        try:
            row = json.loads(line)
            messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
            asked = _asked(messages)
            example = Example(row["id"], asked[-1], row["answer"])
            if not all(isinstance(value, str) and value for value in vars(example).values()):
                raise TypeError("a member that is empty, or no text")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            what = f"is no training example ({type(error).__name__}: {error}); it needs id, prompt or messages, answer"
            raise FormatError(f"{self._name}:{number}", what) from None
        return example if row.get("kind") in SHOWN_KINDS and len(asked) == 1 else None


class StoredExamples:
    """The approved examples of a project: a correction counts from its approval on. What is known is kept, and each
    reading takes from the store only what was decided since. Safe for threads."""

    def __init__(self, project: Project) -> None:
        self._rows = project.examples
        self._lock = threading.Lock()
        self._last: tuple[int, str] = (0, "")  # up to which decisions are known: revision, and whose it is
        self._known: dict[str, tuple[tuple[int, str], Example]] = {}  # with their age
        self._newest: list[Example] = []

    def all(self) -> Sequence[Example]:
        """Of the store, but for chats of several turns."""
        with self._lock:
            revision, witness = self._last
            new = list(self._rows.changed_since(revision - 1))
            if witness and witness not in {row.id for row in new}:  # the project was deleted, and made again
                self._known.clear()
                new = list(self._rows.changed_since(0))
            for row in new:
                self._known.pop(row.id, None)
                if row.state == "approved" and (example := _shown(row)) is not None:
                    self._known[row.id] = (row.created, row.id), example
            last = (new[-1].revision or 0, new[-1].id) if new else (0, "")
            if last != self._last:
                by_age = sorted(self._known.values(), key=lambda each: each[0])
                self._newest, self._last = [example for _, example in by_age[-MOST_EXAMPLES:]], last
            return self._newest


def _shown(row: Row) -> Example | None:
    """As prompts show it; None: a chat of several turns, or no right answer."""
    question = of_json(row.question)
    asked = [question] if isinstance(question, str) else _asked(question)
    return Example(row.id, asked[0], row.answer) if row.kind in SHOWN_KINDS and row.answer and len(asked) == 1 else None


def _asked(messages: Iterable[Mapping[str, Any]]) -> list[Any]:
    """What is said in messages, but for the system's."""
    return [message["content"] for message in messages if message["role"] != "system"]


@dataclass(frozen=True)
class Chosen:
    """The examples for a question, the fittest last; `repeats`: one has the very question."""

    examples: tuple[Example, ...] = ()
    repeats: bool = False


def choose(question: str, examples: Iterable[Example], most: int, fits: Callable[[Example], bool]) -> Chosen:
    """At most `most` examples that are like the question; `fits` says whether there is room for one more.

    Numbers count as equal: a correction of one subtraction is an example for the next. The same question goes last,
    where the model's attention to it is strongest.
    """
    asked, wanted = _plain(question), _shape(question)
    likeness = []
    for age, example in enumerate(examples):
        same = example.plain == asked
        likeness.append((same, 1.0 if same else _cosine(wanted, example.shape), age, example))
    likeness.sort(key=lambda each: each[:3], reverse=True)
    taken: list[Example] = []
    repeats = False
    for same, like, _, example in likeness:
        if len(taken) == most or like < _LEAST_LIKENESS:
            break
        if any(example.plain == other.plain for other in taken):
            continue  # an older correction of the same question
        if fits(example):
            taken.append(example)
            repeats = repeats or same
    return Chosen(tuple(reversed(taken)), repeats)


def _plain(text: str) -> str:
    return " ".join(searchable(text).split())


def _shape(text: str) -> Counter[str]:
    plain = f" {re.sub(r'[0-9]+', '0', _plain(text))} "
    return Counter(plain[i : i + 3] for i in range(len(plain) - 2))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    product = sum(n * b[key] for key, n in a.items())
    size = sum(n * n for n in a.values()) * sum(n * n for n in b.values())
    return product / size**0.5 if size else 0.0
