"""The parts of an answer, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidArgument


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool by the model. `arguments`: JSON text, or the mapping that it stands for; `id`: names the call in
    its result."""

    name: str
    arguments: str | Mapping[str, Any] = field(default="{}", hash=False)
    id: str = ""

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The arguments as a mapping; raises InvalidArgument if they are another JSON value, or no JSON."""
        if isinstance(self.arguments, Mapping):
            return self.arguments
        try:
            value = json.loads(self.arguments or "{}")
        except (ValueError, RecursionError) as error:
            raise InvalidArgument("arguments", f"of {self.name!r} are not JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidArgument("arguments", f"of {self.name!r} are a {type(value).__name__}, must be an object")
        return value

    @property
    def json(self) -> str:
        """The arguments as JSON text."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)

    def as_dict(self) -> dict[str, Any]:
        """As OpenAI's messages have it, and with them templates."""
        call: dict[str, Any] = {"id": self.id} if self.id else {}
        return call | {"type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True)
class Delta:
    """What a step adds to an answer: to one of its parts. A call is always whole; `index` counts the calls from 0."""

    content: str = ""
    reasoning_content: str = ""
    tool_call: ToolCall | None = None
    index: int | None = None


@dataclass(frozen=True)
class Answer:
    """A parsed answer: the text for the user, what the model thought before, and the tools that it calls."""

    content: str = ""
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
