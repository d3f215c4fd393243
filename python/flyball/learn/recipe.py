"""Recipes of synthetic examples: what a teacher is asked, and what its answers must pass. TOML files."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import FormatError, InvalidArgument, NotFound
from ..paths import expanded
from .language import LANGUAGES, share
from .python_check import fault

FOLDER = Path(__file__).parents[1] / "data" / "recipes"
_MOST_BYTES = 1 << 20
_PYTHON = ("none", "compiles", "doctest")
_KEYS = {
    "name": str, "count": int, "seed": int, "max_tokens": int, "ask": str, "answer": str, "slots": dict, "check": dict,
}  # fmt: skip
_CHECK_KEYS = {"language": str, "language_share": float, "question": list, "answer": list, "python": str}


@dataclass(frozen=True)
class Check:
    """What a question and its answer must be: in a language, of a length in characters, Python that runs."""

    language: str | None = None
    language_share: float = 0.8
    question: tuple[int, int] = (8, 400)
    answer: tuple[int, int] = (8, 4000)
    python: str = "none"

    def question_fault(self, text: str) -> str:
        """Why a question is not taken, or ""."""
        return self._length(text, self.question) or self._language(text)

    def answer_fault(self, text: str) -> str:
        """Why an answer is not taken, or ""."""
        code = self.python != "none"  # which is in no language of people
        return self._length(text, self.answer) or (
            fault(text, run=self.python == "doctest") if code else self._language(text)
        )

    def _length(self, text: str, bounds: tuple[int, int]) -> str:
        return "too short" if len(text) < bounds[0] else "too long" if len(text) > bounds[1] else ""

    def _language(self, text: str) -> str:
        wrong = self.language is not None and share(text, self.language) < self.language_share
        return "another language" if wrong else ""


@dataclass(frozen=True)
class Recipe:
    """`ask` makes the teacher write a question, `answer` is what it is asked to get the answer: {question} and {NAME}
    of each slot are replaced."""

    name: str
    digest: str
    count: int
    seed: int
    max_tokens: int
    ask: str
    answer: str
    slots: dict[str, tuple[str, ...]]
    check: Check

    def fillings(self) -> list[dict[str, str]]:
        """All combinations of slots, in an order that follows from the seed."""
        named = [[(name, value) for value in values] for name, values in self.slots.items()]
        every = [dict(each) for each in itertools.product(*named)]
        random.Random(self.seed).shuffle(every)
        return every

    @classmethod
    def load(cls, name: str) -> Recipe:
        """By the name of a recipe of Flyball, or from a file. Raises NotFound, FileError or FormatError."""
        own = FOLDER / f"{name}.toml"
        if re.fullmatch(r"[a-z0-9-]+", name) and own.is_file():
            return cls.parse(str(own), own.read_bytes())
        path = expanded(name)
        try:
            return cls.parse(path, files.read(path, _MOST_BYTES))
        except NotFound as error:
            names = ", ".join(sorted(each.stem for each in FOLDER.glob("*.toml")))
            raise NotFound(name, f"is neither a file nor one of {names}") from error

    @classmethod
    def parse(cls, where: str, raw: bytes) -> Recipe:
        """From a file's bytes. Raises FormatError."""
        try:
            members = tomllib.loads(raw.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise FormatError(where, f"is not TOML: {error}") from None
        try:
            return cls._of(members, hashlib.sha256(raw).hexdigest())
        except InvalidArgument as error:
            raise FormatError(f"{where}: {error.where}", error.what) from None

    @classmethod
    def _of(cls, members: dict[str, Any], digest: str) -> Recipe:
        _check_keys(members, _KEYS)
        for name in ("name", "ask"):
            if not members.get(name):
                raise InvalidArgument(name, "is missing")
        slots = {name: _texts(f"slots.{name}", values) for name, values in members.get("slots", {}).items()}
        ask, answer = members["ask"], members.get("answer", "{question}")
        for name, text, known in (("ask", ask, slots), ("answer", answer, {*slots, "question"})):
            if unknown := set(re.findall(r"\{(\w+)\}", text)) - set(known):
                raise InvalidArgument(name, f"has {{{min(unknown)}}}, which is no slot")
        return cls(
            members["name"],
            digest,
            _within("count", members.get("count", 100), 1, 100_000),
            _within("seed", members.get("seed", 0), 0, 2**63 - 1),
            _within("max_tokens", members.get("max_tokens", 200), 1, 100_000),
            ask,
            answer,
            slots,
            _check_of(members.get("check", {})),
        )


def fill(text: str, values: dict[str, str]) -> str:
    """The text with the slots' values; what a value has in braces stays."""
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], text)


def _check_of(members: dict[str, Any]) -> Check:
    _check_keys(members, _CHECK_KEYS, "check.")
    given = dict(members)
    for name in ("question", "answer"):
        if name in given:
            bounds = given[name]
            if len(bounds) != 2 or not all(type(each) is int for each in bounds) or not 0 < bounds[0] <= bounds[1]:
                raise InvalidArgument(f"check.{name}", f"is {bounds!r}, must be [least, most] characters")
            given[name] = tuple(bounds)
    if given.get("language", LANGUAGES[0]) not in LANGUAGES:
        raise InvalidArgument("check.language", f"is {given['language']!r}, must be one of {', '.join(LANGUAGES)}")
    if given.get("python", "none") not in _PYTHON:
        raise InvalidArgument("check.python", f"is {given['python']!r}, must be one of {', '.join(_PYTHON)}")
    if not 0 <= given.get("language_share", 0.5) <= 1:
        raise InvalidArgument("check.language_share", f"is {given['language_share']}, must be 0 to 1")
    return Check(**given)


def _check_keys(members: dict[str, Any], known: dict[str, type], place: str = "") -> None:
    for name, value in members.items():
        if name not in known:
            raise InvalidArgument(place + name, f"is unknown; known are {', '.join(known)}")
        kinds = (int, float) if known[name] is float else (known[name],)
        if type(value) not in kinds:
            raise InvalidArgument(place + name, f"is {value!r}, must be of type {known[name].__name__}")


def _texts(name: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or not all(isinstance(each, str) and each for each in values):
        raise InvalidArgument(name, "must be a list of texts")
    return tuple(values)


def _within(name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InvalidArgument(name, f"is {value}, must be {least} to {most}")
    return value
