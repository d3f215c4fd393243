"""Questions with what their answers must be: lines of JSON that people write, read with care."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import files
from ..errors import FormatError
from ..paths import AnyPath, expanded

_MOST_BYTES = 64 << 20
_MOST_CASES = 10_000


@dataclass(frozen=True, eq=False)
class Case:
    """A question. Its answer is right if it is `answer` but for white space, has every text of `must` and none of
    `must_not`; without any of these it shall be the one that is given without the adapter.

    family  of questions that are alike: they count as one
    """

    id: str
    prompt: str | list[dict[str, str]]  # messages
    family: str
    answer: str | None = None
    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()

    @property
    def says_what(self) -> bool:
        """Whether it says what is right."""
        return self.answer is not None or bool(self.must or self.must_not)

    def is_right(self, text: str) -> bool:
        """Whether an answer is, by what the case says. Texts are compared in lower case."""
        if self.answer is not None and text.split() != self.answer.split():
            return False
        low = text.lower()
        return all(each.lower() in low for each in self.must) and not any(each.lower() in low for each in self.must_not)


def read_cases(path: AnyPath) -> list[Case]:
    """The cases of a file, one a line: {"id", "messages" or "prompt", and "answer", "must", "must_not", "family" where
    they are wanted}; training examples are cases as well. Raises FormatError with the line."""
    name = expanded(path)
    cases: dict[str, Case] = {}
    for number, line in enumerate(files.read(name, _MOST_BYTES).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            case = _case(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{name}:{number}", str(error)) from None
        if case.id in cases:
            raise FormatError(f"{name}:{number}", f"has the id {case.id!r}, which an earlier line has")
        cases[case.id] = case
        if len(cases) > _MOST_CASES:
            raise FormatError(f"{name}:{number}", f"is too much: at most {_MOST_CASES} cases")
    if not cases:
        raise FormatError(name, "has no case; give one a line")
    return list(cases.values())


def _case(given: Any) -> Case:
    if not isinstance(given, dict):
        raise ValueError("must be an object")
    identity = given.get("id")
    if not isinstance(identity, str) or not identity:
        raise ValueError("id: must be a text")
    answer, family = given.get("answer"), given.get("family")
    for name, value in (("answer", answer), ("family", family)):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{name}: must be a text")
    must, must_not = (_texts(name, given.get(name)) for name in ("must", "must_not"))
    return Case(identity, _prompt(given), family or identity, answer, must, must_not)


def _prompt(given: dict[str, Any]) -> str | list[dict[str, str]]:
    prompt, messages = given.get("prompt"), given.get("messages")
    if (prompt is None) == (messages is None):
        raise ValueError("must have either messages or a prompt")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt:
            raise ValueError("prompt: must be a text")
        return prompt
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages: must be a list with at least one")
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError("messages: each must have role and content")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _texts(name: str, given: Any) -> tuple[str, ...]:
    listed: Sequence[Any] = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(listed, list) or not all(isinstance(text, str) and text for text in listed):
        raise ValueError(f"{name}: must be a list of texts")
    return tuple(listed)
