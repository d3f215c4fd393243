"""Chat templates: rendered in a bounded sandbox, and tokenized so that a message's text never becomes a control token.

A template comes from the model file, messages from untrusted users. Three rules keep them apart:

1. The template sees messages as they are. The rendered text carries beside it which of its characters the template
   wrote (traced.py); everything else counts as a message's.
2. A control token is one only where the template wrote all of its characters.
3. The text between control tokens is tokenized in one piece, template and message together, as in training, with
   special tokens off; separate pieces could give other ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ..errors import InvalidArgument, TemplateError
from ..pickling import Unpicklable
from .sandbox import ReadOnlyDict, ReadOnlyList, Sandbox
from .traced import Traced, from_template, origin_of

# Templates write roles into their own control tokens, so these words count as the template's.
ROLES = {
    role: from_template(role)
    for role in (
        "system", "developer", "user", "assistant", "model", "tool", "function", "ipython", "observation",
        "tool_response", "tool_results", "root", "latest_reminder",
    )
}  # fmt: skip
_PREFIX = 3  # characters of a control token that are looked for before it is looked up
_MAX_DEPTH = 32
_SPACE = " \t\n\v\f\r"


class ChatTemplate(Unpicklable):
    """A template and the vocabulary to tokenize for; may be used from many threads."""

    _instead = "it has compiled code; Model.chat_template() makes another"

    def __init__(
        self,
        source: str,
        tokenize: Callable[[str, bool], list[int]],
        control: Mapping[str, int],
        bos: str = "",
        eos: str = "",
        first: int | None = None,
        tool_use: str = "",
    ) -> None:
        """`tokenize(text, parse_special)` must add no tokens; `control`: text -> id of each control token;
        `first`: the id that every prompt begins with, if any; `tool_use`: another source for prompts with tools."""
        if not source:
            raise InvalidArgument(
                "template",
                "is empty, as the model file has none; give one by template= in Python, --template on the command line",
            )
        self._template = Sandbox.compile(source)
        self._tool_use_source = tool_use
        self._tokenize = tokenize
        self._controls = _Controls(control)
        self._first = first
        self._eats: dict[str, bool] = {}
        self._names = {"bos_token": from_template(bos), "eos_token": from_template(eos)}

    @property
    def source(self) -> str:
        """The template's text, with that of the one for prompts with tools."""
        return self._template.source + self._tool_use_source

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The text of a prompt. Use ids() for ids: plain text cannot distinguish control tokens from their spelling."""
        return str.__str__(self._render(messages, variables))

    def ids(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> list[int]:
        """Token ids of a prompt, up to where the answer begins."""
        rendered = self._render(messages, variables)
        ids: list[int] = []
        end, eaten = 0, False
        for start, control in self._controls.find(rendered):
            ids += self._plain(rendered[end:start], eaten)
            ids.append(self._controls.ids[control])
            end, eaten = start + len(control), self._eats_space(control)
        ids += self._plain(rendered[end:], eaten)
        if self._first is not None and ids[:1] != [self._first]:
            ids.insert(0, self._first)
        return ids

    def _plain(self, text: str, eaten: bool) -> list[int]:
        if eaten:
            text = text.lstrip(_SPACE)
        return self._tokenize(text, False) if text else []

    def _eats_space(self, control: str) -> bool:
        """Whether the vocabulary drops white space after this control token, as phi-3's does."""
        if control not in self._eats:
            probe = self._tokenize(control + " \nx", True)
            self._eats[control] = probe == [self._controls.ids[control], *self._tokenize("x", False)]
        return self._eats[control]

    def _render(self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> Traced:
        names: dict[str, Any] = {"add_generation_prompt": True, "tools": None, "documents": None}
        names |= _copied(variables) | self._names
        now = names.pop("strftime_now", None)
        names["messages"] = ReadOnlyList(map(_message, messages))
        return (self._tool_use if names["tools"] else self._template).render(names, now)

    @cached_property
    def _tool_use(self) -> Sandbox:
        return Sandbox.compile(self._tool_use_source) if self._tool_use_source else self._template


class _Controls:
    """Finds control tokens in text that the template wrote. The time does not grow with their number."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = {text: token for text, token in ids.items() if text}
        heads = sorted({text[:_PREFIX] for text in self.ids}, key=len, reverse=True)
        self._heads = re.compile(f"(?=({'|'.join(map(re.escape, heads))}))" if heads else "(?!)")
        self._sizes = {
            head: {len(text) for text in self.ids if text.startswith(head) or head.startswith(text)} for head in heads
        }

    def find(self, rendered: Traced) -> list[tuple[int, str]]:
        """(start, text) of each, in order. Of two that overlap the longer counts, then the first, as in tokenizing."""
        free = bytearray(origin_of(rendered))
        text = str.__str__(rendered)
        found = []
        for start, control in sorted(self._candidates(text, free), key=lambda at: (-len(at[1]), at[0])):
            stop = start + len(control)
            if free.find(0, start, stop) < 0:
                free[start:stop] = bytes(len(control))
                found.append((start, control))
        return sorted(found)

    def _candidates(self, text: str, own: bytes | bytearray) -> Iterator[tuple[int, str]]:
        for run in re.finditer(rb"\x01+", own):
            for head in self._heads.finditer(text, *run.span()):
                start = head.start()
                for size in self._sizes[head[1]]:
                    if (control := text[start : start + size]) in self.ids:
                        yield start, control


def _message(message: Mapping[str, Any]) -> ReadOnlyDict:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidArgument("messages", f"have the role {role!r}; known roles: {', '.join(sorted(ROLES))}")
    copied: ReadOnlyDict = _copied(message)
    copied["role"] = ROLES[role]
    return copied


def _copied(value: Any, depth: int = 0) -> Any:
    """A copy in plain types, so that a template gets none of the caller's objects."""
    if depth > _MAX_DEPTH:
        raise InvalidArgument("messages", f"are nested deeper than {_MAX_DEPTH}")
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return ReadOnlyDict({_copied(str(key)): _copied(item, depth + 1) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return ReadOnlyList(_copied(item, depth + 1) for item in value)
    raise InvalidArgument("messages", f"contain a {type(value).__name__}; use text, numbers, lists and mappings")


__all__ = ["ROLES", "ChatTemplate", "TemplateError"]
