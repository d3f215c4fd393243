"""The messages of a conversation, and the JSON file that keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import files
from ..answers.parts import Answer, ToolCall
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded

# Version 1: messages (objects with role, content and more), left_out, variables.
_FORMAT, _VERSION = "flyball chat", 1
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Message:
    """One message: its role (system, user, assistant, tool, ...) and content: text, or parts as templates have them.

    `reasoning_content` is what the model thought before, `tool_calls` are its calls of tools, `tool_call_id` says which
    call a result is of. `more` has other members that a template reads, and calls of another form than ToolCall's.
    """

    role: str
    content: Any
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @classmethod
    def of(cls, message: Message | Mapping[str, Any]) -> Message:
        """A checked Message from one or from a mapping; raises InvalidArgument."""
        members = message.as_dict() if isinstance(message, Message) else message
        if not isinstance(members, Mapping):
            raise InvalidArgument("messages", f"have a {type(message).__name__}; each must be a Message or a mapping")
        content = members.get("content")
        if content is not None and not isinstance(content, str | list | tuple):
            raise InvalidArgument(
                "messages", f"have a content of type {type(content).__name__}, must be text or a list"
            )
        more = {str(key): value for key, value in members.items() if key not in ("role", "content")}
        thought = next((key for key in _THOUGHTS if isinstance(more.get(key), str)), None)
        calls = _calls(more.get("tool_calls"))
        return cls(
            _role(members.get("role")),
            content,
            reasoning_content=more.pop(thought) if thought else "",
            tool_calls=tuple(calls) if calls and more.pop("tool_calls") else (),
            tool_call_id=more.pop("tool_call_id") if isinstance(more.get("tool_call_id"), str) else "",
            more=more,
        )

    @classmethod
    def of_answer(cls, answer: Answer) -> Message:
        """A model's answer."""
        return cls(
            "assistant", answer.content, reasoning_content=answer.reasoning_content, tool_calls=answer.tool_calls
        )

    def as_dict(self) -> dict[str, Any]:
        """As templates and JSON have it."""
        members: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning_content:
            members["reasoning_content"] = self.reasoning_content
        if self.tool_calls:
            members["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id:
            members["tool_call_id"] = self.tool_call_id
        return members | dict(self.more)


def now(seconds: float | None = None) -> str:
    """The present time, or that of so many seconds since 1970, as the variable `strftime_now` freezes it."""
    return datetime.fromtimestamp(time.time() if seconds is None else seconds).isoformat(timespec="seconds")


_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # names that other programs have for it


def _calls(given: object) -> list[ToolCall] | None:
    """Calls of OpenAI's form; None for those of another, which stay as they are."""
    if not isinstance(given, list | tuple):
        return None
    calls = []
    for call in given:
        if isinstance(call, ToolCall):
            calls.append(call)
            continue
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or set(call) - {"id", "type", "function", "index"}:
            return None
        name, arguments, id = function.get("name"), function.get("arguments", "{}"), call.get("id") or ""
        if not isinstance(name, str) or not isinstance(arguments, str | Mapping) or not isinstance(id, str):
            return None
        calls.append(ToolCall(name, arguments, id))
    return calls


def _role(role: object) -> str:
    from ..templates.template import ROLES  # a chat has imported it; the package alone does without jinja2

    if not isinstance(role, str) or role not in ROLES:
        raise InvalidArgument("messages", f"have the role {role!r}; known roles: {', '.join(sorted(ROLES))}")
    return role


@dataclass(frozen=True)
class Conversation:
    """What a file keeps: messages, how many of them after the system message prompts leave out, template variables."""

    messages: tuple[Message, ...]
    left_out: int
    variables: dict[str, Any]

    def save(self, path: AnyPath) -> Path:
        """Write a JSON file; raises FileError, and InvalidArgument for what JSON has no form for."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "messages": [message.as_dict() for message in self.messages],
            "left_out": self.left_out,
            "variables": self.variables,
        }
        try:
            text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
            return files.write(path, text.encode() + b"\n")
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument("messages", f"cannot be written as JSON: {error}") from None

    @classmethod
    def load(cls, path: AnyPath) -> Conversation:
        """Read a file, which is untrusted; raises NotFound, FileError or FormatError."""
        name = expanded(path)
        members = _document(name, files.read(name, _MAX_BYTES))
        try:
            messages = tuple(Message.of(message) for message in members["messages"])
        except (InvalidArgument, KeyError, TypeError) as error:
            what = error.what if isinstance(error, InvalidArgument) else "are no list of messages"
            raise FormatError(f"{name}: messages", what) from None
        left_out, variables = members.get("left_out", 0), members.get("variables", {})
        if type(left_out) is not int or not 0 <= left_out <= len(messages):
            raise FormatError(f"{name}: left_out", f"is {left_out!r}, must be a number of messages")
        if not isinstance(variables, dict):
            raise FormatError(f"{name}: variables", "must be an object")
        return cls(messages, left_out, variables)


def _document(name: str, raw: bytes) -> dict[str, Any]:
    """The members of a file of this format, all of whose texts have a UTF-8 form."""
    try:
        members = json.loads(raw)
        json.dumps(members, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FormatError(name, f"is not JSON in UTF-8: {error}") from None
    if not isinstance(members, dict) or members.get("format") != _FORMAT:
        raise FormatError(name, "is not a saved conversation; chat.save() and /save write one")
    if members.get("version") != _VERSION:
        raise FormatError(f"{name}: version", f"is {members.get('version')!r}; this Flyball reads {_VERSION}")
    return members
