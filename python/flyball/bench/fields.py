"""Typed access to untrusted JSON files; errors name file, place and cause."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from .. import files
from ..errors import FormatError
from ..paths import AnyPath, expanded

SCHEMA = 1
_MOST_BYTES = 64 << 20
_MOST_INTEGER = 2**63 - 1


class Fields:
    """A JSON object. `where`: its file and its place in it."""

    def __init__(self, where: str, value: object) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise FormatError(where, f"is {_kind(value)}, must be an object")
        self._members: dict[str, Any] = value

    @classmethod
    def read(cls, path: AnyPath, kind: str) -> Fields:
        """Read a file; its schema must be supported and its kind one of `kind`'s (separated by |)."""
        where = expanded(path)
        fields = cls(where, parse(where, files.read(where, _MOST_BYTES)))
        if fields._get("schema") != SCHEMA:
            raise FormatError(where, f"schema is {fields._get('schema')!r}, this version of flyball reads {SCHEMA}")
        if fields.text("kind") not in kind.split("|"):
            raise FormatError(where, f"is {fields.text('kind')!r}, must be {kind.replace('|', ' or ')}")
        return fields

    def wrong(self, name: str, what: str) -> NoReturn:
        """Raise FormatError for a member."""
        raise FormatError(self.where, f"{name} {what}")

    def only(self, *names: str) -> None:
        """Refuse members of other names, which would be lost silently."""
        for name in self._members:
            if name not in names:
                self.wrong(repr(name), f"is unknown, must be one of: {', '.join(names)}")

    def text(self, name: str, empty: bool = True) -> str:
        """A string."""
        value = self._get(name)
        if not isinstance(value, str) or not (value or empty):
            self.wrong(name, f"is {_kind(value)}, must be text")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            self.wrong(name, "has a lone surrogate, which is not valid in UTF-8")
        return value

    def integer(self, name: str, least: int = 0, most: int = _MOST_INTEGER) -> int:
        """An integer in a range."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self.wrong(name, f"is {_kind(value)}, must be a whole number")
        if not least <= value <= most:
            self.wrong(name, f"is {value}, must be from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._get(name)
        return value if isinstance(value, bool) else self.wrong(name, "must be true or false")

    def numbers(self, name: str, missing: bool = False) -> tuple[float | None, ...]:
        """An array of positive numbers; `missing`: null is allowed too."""
        value = self._get(name)
        if not isinstance(value, list):
            self.wrong(name, f"is {_kind(value)}, must be an array")
        return tuple(None if v is None and missing else self._positive(f"{name}[{i}]", v) for i, v in enumerate(value))

    def sub(self, name: str) -> Fields:
        """An object."""
        return Fields(f"{self.where}: {name}", self._get(name))

    def subs(self) -> Iterator[tuple[str, Fields]]:
        """All members, each of which must be an object."""
        for name in self._members:
            yield name, self.sub(name)

    def items(self, name: str) -> list[Fields]:
        """An array of objects."""
        value = self._get(name)
        if not isinstance(value, list):
            self.wrong(name, f"is {_kind(value)}, must be an array")
        return [Fields(f"{self.where}: {name}[{i}]", v) for i, v in enumerate(value)]

    def has(self, name: str) -> bool:
        """Whether the member exists and is not null."""
        return self._members.get(name) is not None

    def names(self) -> list[str]:
        """Names of all members."""
        return list(self._members)

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST_INTEGER:
            self.wrong(name, f"is {_kind(value)}, must be a finite number")
        return float(value)

    def number_or_none(self, name: str) -> float | None:
        """A finite number or null."""
        return self.number(name) if self._get(name) is not None else None

    def positive(self, name: str) -> float:
        """A number above zero."""
        return self._positive(name, self._get(name))

    def _positive(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_INTEGER:
            self.wrong(name, f"is {_kind(value)}, must be a positive number")
        return float(value)

    def _get(self, name: str) -> Any:
        if name not in self._members:
            self.wrong(name, "is missing")
        return self._members[name]


def parse(where: str, raw: bytes | str) -> object:
    """Parse standard JSON, without NaN and Infinity."""

    def refuse(word: str) -> NoReturn:
        raise FormatError(where, f"has {word}, which is not a JSON number")

    try:
        return json.loads(raw, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(where, f"is not valid JSON: {error}") from None


def dump(value: object) -> bytes:
    """Canonical JSON: the same value gives the same bytes."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write(path: AnyPath, value: object) -> None:
    """Write a JSON file atomically."""
    files.write(path, dump(value))


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "infinite"
    if isinstance(value, int | float):
        return repr(value)[:40]
    if isinstance(value, str):
        return repr(value[:40])
    return "an array" if isinstance(value, list) else "an object"
