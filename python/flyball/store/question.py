"""Questions as feedback and examples keep them: JSON, either a list of messages or the text of a prompt.

Two questions are one where they differ in case, marks, white space or the signs at their end alone. Their key says
which split they belong to, so that none ever moves from what is held out to what is trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument
from ..folding import fold
from . import checks

HELD_OUT_PERCENT = 20
_MOST_MESSAGES = 1000
_END_SIGNS = " .,;:!?…"

Messages = Sequence[Mapping[str, Any]]
Question = str | Messages


def as_json(question: Question) -> str:
    """A prompt's text, or a chat's messages, each {"role", "content"} with texts. Raises InvalidArgument."""
    if isinstance(question, str):
        _text("question", question)
        return json.dumps(question, ensure_ascii=False)
    if not isinstance(question, list | tuple) or not 1 <= len(question) <= _MOST_MESSAGES:
        raise InvalidArgument("messages", f"must be a list of 1 to {_MOST_MESSAGES} messages, or a prompt's text")
    messages: Messages = question
    return json.dumps([_message(number, message) for number, message in enumerate(messages)], ensure_ascii=False)


def of_json(text: str) -> str | list[dict[str, str]]:
    """The question that `as_json` wrote."""
    question: str | list[dict[str, str]] = json.loads(text)
    return question


def plain(text: str) -> str:
    """What the user said last, of a question as it is stored."""
    question = of_json(text)
    return question if isinstance(question, str) else question[-1]["content"]


def key_of(text: str) -> str:
    """64 hexadecimal digits, the same for questions that count as one."""
    question = of_json(text)
    said = [("", question)] if isinstance(question, str) else [(each["role"], each["content"]) for each in question]
    if len(said) == 1:  # a prompt and a chat of one question ask the same
        said = [("user", said[0][1])]
    folded = "\n".join(f"{role}: {fold(content).rstrip(_END_SIGNS)}" for role, content in said)
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).hexdigest()


def is_held_out(key: str) -> bool:
    """Whether questions with this key test and never train."""
    return int(key[:8], 16) % 100 < HELD_OUT_PERCENT


def _message(number: int, message: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise InvalidArgument("messages", f"has a {type(message).__name__} at {number}, must be {{role, content}}")
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list | tuple):  # OpenAI's parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return {"role": checks.text("role", role, 40), "content": _text("content", content)}  # type: ignore[arg-type]


def _text(name: str, value: object) -> str:
    text = checks.user_text(name, value)  # type: ignore[arg-type]
    if not text:
        raise InvalidArgument(name, "is empty; a question has text")
    return text
