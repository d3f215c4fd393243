"""Chat templates: rendered in a bounded sandbox, and tokenized so that a message's text never becomes a control token.

A template comes from the model file, messages from untrusted users. Three rules keep them apart:

1. Where the text of a message begins like a control token, a guard (two random private-use characters, new for each
   rendering) is inserted after its first character. So a control token in the rendered text can only come from the
   template. Guards are removed before the text between control tokens is tokenized, with special tokens off.
2. That text is tokenized in one piece from one control token to the next, template and message together, as in
   training; separate pieces could give other ids.
3. Everything is rendered again with guards around every character of every message. If that changes the control
   tokens, a message was part of one (as in a template that writes '<' + text + '>'), and is rejected.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import InvalidArgument, TemplateError
from .sandbox import Sandbox

ROLES = frozenset({"system", "developer", "user", "assistant", "model", "tool", "function", "ipython", "observation"})
_PREFIX = 3  # matching characters before a guard is inserted; with fewer, harmless text would get guards
_MAX_DEPTH = 32
_SPACE = " \t\n\v\f\r"


class _Marks(NamedTuple):
    """How to mark the texts and the keys of messages; templates look keys up, so keys stay recognizable."""

    text: Callable[[str], str]
    key: Callable[[str], str]


class ChatTemplate:
    """A template and the vocabulary to tokenize for; may be used from many threads."""

    def __init__(
        self,
        source: str,
        tokenize: Callable[[str, bool], list[int]],
        control: Mapping[str, int],
        bos: str = "",
        eos: str = "",
        first: int | None = None,
    ) -> None:
        """`tokenize(text, parse_special)` must add no tokens; `control`: text -> id of each control token;
        `first`: the id that every prompt begins with, if any."""
        if not source:
            raise InvalidArgument(
                "template",
                "is empty, as the model file has none; give one by template= in Python, --template on the command line",
            )
        self._template = Sandbox.compile(source)
        self._tokenize = tokenize
        self._control = {text: token for text, token in control.items() if text}
        self._first = first
        self._eats: dict[str, bool] = {}
        self._names = {"bos_token": bos, "eos_token": eos}
        self._splitter = re.compile("|".join(_alternatives(self._control)) or r"(?!)")
        heads = {re.escape(text[:_PREFIX]) for text in self._control}
        tails = {re.escape(text[:n]) + r"\Z" for text in self._control for n in range(1, min(_PREFIX, len(text)))}
        self._risky = re.compile(rf"(?=(?:{'|'.join(sorted(heads | tails)) or '(?!)'}))", re.IGNORECASE)

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The text of a prompt. Use ids() for ids: plain text cannot distinguish control tokens from their spelling."""
        return self._render(messages, variables, _Marks(str, str))

    def ids(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> list[int]:
        """Token ids of a prompt, up to where the answer begins."""
        guard = self._new_guard(messages, variables)

        def shield(text: str) -> str:
            return self._shield(text, guard)

        def scatter(text: str) -> str:
            return guard + guard.join(text) + guard if text else ""

        rendered = self._render(messages, variables, _Marks(shield, shield))
        shadow = self._render(messages, variables, _Marks(scatter, shield))
        if self._splitter.findall(rendered) != self._splitter.findall(shadow):
            raise InvalidArgument("messages", "would become part of a control token in this template")
        ids: list[int] = []
        end, eaten = 0, False
        for match in self._splitter.finditer(rendered):
            ids += self._plain(rendered[end : match.start()], guard, eaten)
            ids.append(self._control[match.group()])
            end, eaten = match.end(), self._eats_space(match.group())
        ids += self._plain(rendered[end:], guard, eaten)
        if self._first is not None and ids[:1] != [self._first]:
            ids.insert(0, self._first)
        return ids

    def _plain(self, text: str, guard: str, eaten: bool) -> list[int]:
        text = text.replace(guard, "")
        if eaten:
            text = text.lstrip(_SPACE)
        return self._tokenize(text, False) if text else []

    def _eats_space(self, control: str) -> bool:
        """Whether the vocabulary drops white space after this control token, as phi-3's does."""
        if control not in self._eats:
            probe = self._tokenize(control + " \nx", True)
            self._eats[control] = probe == [self._control[control], *self._tokenize("x", False)]
        return self._eats[control]

    def _shield(self, text: str, guard: str) -> str:
        return "".join(
            text[start:stop] + guard
            for start, stop in _cuts([match.start() + 1 for match in self._risky.finditer(text)], len(text))
        ).removesuffix(guard)

    def _render(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any], marks: _Marks) -> str:
        names: dict[str, Any] = {"add_generation_prompt": True, "tools": None, "documents": None}
        names |= _copied(variables, marks) | self._names
        names["messages"] = [_message(message, marks) for message in messages]
        return self._template.render(names)

    def _new_guard(self, *texts: object) -> str:
        while True:
            guard = "".join(chr(0xF0000 + secrets.randbelow(0xFFFE)) for _ in range(2))
            if guard not in self._template.source and not any(_contains(text, guard) for text in texts):
                return guard


def _alternatives(control: Mapping[str, int]) -> list[str]:
    return [re.escape(text) for text in sorted(control, key=len, reverse=True)]


def _cuts(positions: list[int], length: int) -> list[tuple[int, int]]:
    inner = [position for position in positions if position <= length]
    return list(zip([0, *inner], [*inner, length], strict=True))


def _message(message: Mapping[str, Any], marks: _Marks) -> dict[str, Any]:
    role = message.get("role")
    if role not in ROLES:
        raise InvalidArgument("messages", f"have the role {role!r}; known roles: {', '.join(sorted(ROLES))}")
    copied: dict[str, Any] = _copied(message, marks)
    return copied | {"role": role}


def _copied(value: Any, marks: _Marks, depth: int = 0) -> Any:
    """A copy in plain types with every text marked, so that a template gets none of the caller's objects."""
    if depth > _MAX_DEPTH:
        raise InvalidArgument("messages", f"are nested deeper than {_MAX_DEPTH}")
    if isinstance(value, str):
        return marks.text(str(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {marks.key(str(key)): _copied(item, marks, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_copied(item, marks, depth + 1) for item in value]
    raise InvalidArgument("messages", f"contain a {type(value).__name__}; use text, numbers, lists and mappings")


def _contains(value: object, guard: str) -> bool:
    if isinstance(value, str):
        return guard in value
    if isinstance(value, Mapping):
        return any(_contains(k, guard) or _contains(v, guard) for k, v in value.items())
    return isinstance(value, Sequence) and any(_contains(item, guard) for item in value)


__all__ = ["ROLES", "ChatTemplate", "TemplateError"]
