"""What an answer may be: a schema, a grammar, a regular expression or a choice, by kind and text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import InvalidArgument, Unsupported
from . import library
from .schema import canonical

KINDS = ("json_schema", "json_object", "gbnf", "lark", "regex", "choice")
_MOST_BYTES = 1 << 20  # of a text
_THINKING = "%thinking "  # the first line of a text that begins after thoughts


class Thoughts(NamedTuple):
    """The tags around the thoughts before the constrained part; `opened`: the prompt has opened them."""

    open: str
    close: str
    opened: bool


@dataclass(frozen=True)
class Constraint:
    """A constraint on an answer's text, checked when a request is admitted. Made by json_schema() and the like.

    `kind`, `text` and `library` (name and version) say all that is needed to apply it again; an answer's receipt has
    them. A library of another version may draw the line elsewhere.
    """

    kind: str
    text: str
    library: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise Unsupported("constraint", f"is of kind {self.kind!r}; there are {', '.join(KINDS)}")

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str | bool) -> Constraint:
        """JSON that is valid under a JSON Schema (a mapping, or JSON text); members come in the schema's order.

        Raises InvalidArgument for a malformed schema, and Unsupported with the keyword's path for one that cannot be
        guaranteed.
        """
        return cls._of("json_schema", canonical(schema))

    @classmethod
    def json_object(cls) -> Constraint:
        """Any JSON object."""
        return cls._of("json_object", "")

    @classmethod
    def gbnf(cls, text: str) -> Constraint:
        """A grammar as llama.cpp writes them."""
        return cls._of("gbnf", text)

    @classmethod
    def lark(cls, text: str) -> Constraint:
        """A grammar in llguidance's dialect of Lark."""
        return cls._of("lark", text)

    @classmethod
    def regex(cls, pattern: str) -> Constraint:
        """Text that a regular expression (Rust's syntax) matches as a whole."""
        return cls._of("regex", pattern)

    @classmethod
    def choice(cls, texts: Iterable[str]) -> Constraint:
        """One of several texts."""
        listed = None if isinstance(texts, str | bytes) or not isinstance(texts, Iterable) else list(texts)
        if not listed or not all(isinstance(text, str) for text in listed):
            raise InvalidArgument("choice", f"is {texts!r}, must be a list of texts")
        return cls._of("choice", json.dumps(listed, ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def _of(cls, kind: str, text: str) -> Constraint:
        if not isinstance(text, str):
            raise InvalidArgument(kind, f"is {type(text).__name__}, must be text")
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidArgument(kind, f"has no UTF-8 form: lone surrogate at character {error.start}") from None
        if size > _MOST_BYTES:
            raise InvalidArgument(kind, f"has {size} bytes, at most {_MOST_BYTES}")
        if not text and kind != "json_object":
            raise InvalidArgument(kind, "is empty")
        if text.startswith(_THINKING):
            raise InvalidArgument(kind, f"begins with {_THINKING!r}, which after_thinking() writes")
        return cls(kind, text, library.name())

    def after_thinking(self, open: str, close: str, opened: bool = False) -> Constraint:
        """The same, beginning after the model's thoughts: from `open`, which the model may leave out, to `close`.

        opened  the prompt has written `open`, so the answer begins inside of the thoughts
        """
        if not open or not close:
            raise InvalidArgument("thinking", "has an empty tag")
        if self.text.startswith(_THINKING):
            raise InvalidArgument("thinking", "is there already")
        tags = json.dumps(Thoughts(open, close, opened)._asdict(), ensure_ascii=False, separators=(",", ":"))
        return replace(self, text=f"{_THINKING}{tags}\n{self.text}")

    @property
    def sha256(self) -> str:
        """SHA-256 over kind, library and text, in hexadecimal."""
        texts = [text.encode() for text in ("flyball constraint 1", self.kind, self.library, self.text)]
        return hashlib.sha256(b"".join(len(text).to_bytes(8, "little") + text for text in texts)).hexdigest()

    def parts(self) -> tuple[Thoughts | None, str]:
        """The thoughts before the constrained part, if any, and its text."""
        if not self.text.startswith(_THINKING):
            return None, self.text
        first, _, rest = self.text.removeprefix(_THINKING).partition("\n")
        try:
            thoughts = Thoughts(**json.loads(first))
        except (ValueError, TypeError, RecursionError):
            thoughts = None
        if thoughts is None or not all(isinstance(tag, str) and tag for tag in thoughts[:2]):
            raise InvalidArgument("constraint", f"has an invalid line of {_THINKING.strip()}")
        return thoughts, rest


def one_of(
    constraint: Constraint | None, json_schema: Mapping[str, Any] | str | bool | None, grammar: str | None
) -> Constraint | None:
    """The constraint of the three options, of which at most one may be given."""
    options = {"constraint": constraint, "json_schema": json_schema, "grammar": grammar}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise InvalidArgument(given[0], f"is given beside {given[1]}; an answer has one constraint")
    if json_schema is not None:
        return Constraint.json_schema(json_schema)
    if grammar is not None:
        return Constraint.gbnf(grammar)
    if constraint is not None and not isinstance(constraint, Constraint):
        raise InvalidArgument("constraint", f"is {constraint!r}, must be a Constraint")
    return constraint
