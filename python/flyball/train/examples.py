"""Training examples: JSON lines, each checked; a file with a wrong line trains nothing."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import files
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded

KINDS = ("correction", "good", "bad", "synthetic", "replay")
ROLES = ("system", "user", "assistant")
MOST_WEIGHT = 100.0
_MOST_BYTES = 256 << 20
_MOST_TOLD = 5  # wrong lines that one error names


@dataclass(frozen=True)
class Example:
    """A question, as messages or as plain text, with its right answer or a wrong one or both.

    `place` names it in errors.
    """

    id: str
    question: tuple[Mapping[str, str], ...] | str
    answer: str | None
    rejected: str | None
    kind: str
    weight: float
    place: str

    @classmethod
    def of(cls, fields: Mapping[str, Any], place: str) -> Example:
        """From a line's object, whose further keys are not training's. Raises InvalidArgument."""
        name, answer, rejected = (_text(key, fields.get(key)) for key in ("id", "answer", "rejected"))
        kind = fields.get("kind")
        if not name:
            raise InvalidArgument("id", "is missing or empty")
        if kind not in KINDS:
            raise InvalidArgument("kind", f"is {kind!r}, must be one of {', '.join(KINDS)}")
        if kind == "bad" and not rejected:
            raise InvalidArgument("rejected", "is empty; a line of kind bad has the bad answer there")
        if kind != "bad" and not answer:
            raise InvalidArgument("answer", "is empty; only a line of kind bad may do without")
        if rejected == answer:
            raise InvalidArgument("rejected", "is the answer itself")
        return cls(name, _question(fields), answer or None, rejected or None, kind, _weight(fields), place)

    def as_dict(self) -> dict[str, object]:
        """As in a file."""
        plain = isinstance(self.question, str)
        return {
            "id": self.id, "prompt" if plain else "messages": self.question, "answer": self.answer or "",
            "rejected": self.rejected, "kind": self.kind, "weight": self.weight,
        }  # fmt: skip


def read(path: AnyPath) -> list[Example]:
    """The examples of a file of JSON lines. Raises FormatError, which names the wrong lines."""
    name = expanded(path)
    found: list[Example] = []
    wrong: list[str] = []
    lines: dict[str, int] = {}
    for number, raw in enumerate(files.read(name, _MOST_BYTES).split(b"\n"), 1):
        if not raw.strip():
            continue
        try:
            example = Example.of(_object(raw), f"{name}, line {number}")
            if (first := lines.setdefault(example.id, number)) != number:
                raise InvalidArgument("id", f"is that of line {first}, too")
            found.append(example)
        except InvalidArgument as error:
            wrong.append(f"line {number}: {error}")
    refuse(name, wrong)
    if not found:
        raise FormatError(name, "has no examples; each line is a JSON object with id, messages, answer and kind")
    return found


def refuse(where: str, wrong: list[str]) -> None:
    """Raise FormatError if there are wrong lines; it names the first of them."""
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise FormatError(where, "; ".join(wrong[:_MOST_TOLD]) + more)


def check_apart(examples: Iterable[Example], held_out: Iterable[Example]) -> None:
    """Raise InvalidArgument if a held-out question is trained on."""
    asked = {json.dumps(example.question): example.id for example in examples}
    for example in held_out:
        if (other := asked.get(json.dumps(example.question))) is not None:
            raise InvalidArgument("held out", f"{example.id!r} asks what {other!r} asks, which is trained on")


def digest(examples: Iterable[Example]) -> str:
    """SHA-256 in hexadecimal over the examples as JSON lines with sorted keys."""
    lines = (json.dumps(example.as_dict(), sort_keys=True, ensure_ascii=False) + "\n" for example in examples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(raw.decode())
    except UnicodeDecodeError as error:
        raise InvalidArgument("", f"is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument("", f"is not JSON: {error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError):
        raise InvalidArgument("", "is not JSON that can be read: its nesting or a number is too long") from None
    if not isinstance(fields, dict):
        raise InvalidArgument("", "is not a JSON object")
    return fields


def _text(name: str, value: object) -> str | None:
    """Text, or None for null; without half a surrogate pair, which no tokenizer takes."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidArgument(name, f"is of type {type(value).__name__}, must be text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidArgument(name, "has half a surrogate pair")
    return value


def _question(fields: Mapping[str, Any]) -> tuple[Mapping[str, str], ...] | str:
    if ("messages" in fields) == ("prompt" in fields):
        raise InvalidArgument("messages", "or prompt must be there, one of the two")
    if "prompt" in fields:
        if not (prompt := _text("prompt", fields["prompt"])):
            raise InvalidArgument("prompt", "is empty")
        return prompt
    messages = fields["messages"]
    if not isinstance(messages, list) or not messages:
        raise InvalidArgument("messages", "must be a list that is not empty")
    checked = []
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] not in ROLES:
            raise InvalidArgument(where, f"must have a role ({', '.join(ROLES)}) and a content, nothing else")
        if not (content := _text(f"{where}.content", message["content"])):
            raise InvalidArgument(f"{where}.content", "is empty")
        checked.append({"role": str(message["role"]), "content": content})
    if checked[-1]["role"] == "assistant":
        raise InvalidArgument("messages", "end with the assistant's; what it should say is the answer")
    return tuple(checked)


def _weight(fields: Mapping[str, Any]) -> float:
    weight = fields.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise InvalidArgument("weight", f"is {weight!r}, must be a number")
    if not 0 < weight <= MOST_WEIGHT:
        raise InvalidArgument("weight", f"is {weight:g}, must be above 0 and at most {MOST_WEIGHT:g}")
    return float(weight)
