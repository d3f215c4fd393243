"""Text that knows which of its characters its template wrote.

A template sees the true texts of messages, as plain `str`. Its own text (what stands between tags, and string literals)
is `Traced`, and stays so through every operation that is written here. Any other operation gives a plain `str`: what
cannot be traced counts as a message's, so that a forgotten operation can never turn a message into a control token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

from markupsafe import Markup


class Traced(str):
    """A text; `_origin` has one byte a character: 1 if the template wrote it, 0 if it came with a message."""

    __slots__ = ("_origin",)
    _origin: bytes

    def __new__(cls, text: str, origin: bytes) -> Traced:
        self = super().__new__(cls, text)
        self._origin = origin
        return self

    def __str__(self) -> Traced:  # so that str() of a Traced keeps its origin
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> Traced:
        text = super().__getitem__(key)
        if isinstance(key, slice):
            return Traced(text, self._origin[key])
        return Traced(text, bytes((self._origin[key],)))

    def __iter__(self) -> Iterator[Traced]:
        return (self[i] for i in range(len(self)))

    def __add__(self, other: str) -> Traced:
        return NotImplemented if _not_text(other) else concat((self, other))

    def __radd__(self, other: str) -> Traced:
        return NotImplemented if _not_text(other) else concat((other, self))

    def __mul__(self, count: SupportsIndex) -> Traced:
        return Traced(super().__mul__(count), self._origin * int(count))

    __rmul__ = __mul__

    def join(self, parts: Iterable[str], /) -> Traced:
        parts = list(parts)
        return Traced(super().join(parts), self._origin.join(map(origin_of, parts)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> Traced:
        text = super().replace(old, new, count)
        if not old:
            return traced(text)
        kept = (self._origin[start:stop] for start, stop in self._places(super().split(old, count), old))
        return Traced(text, origin_of(new).join(kept))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(super().split(sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._parts(super().rsplit(sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._parts(super().splitlines(keepends))

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        head, found, tail = self._parts(super().partition(sep), "")
        return head, found, tail

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        head, found, tail = self._parts(super().rpartition(sep), "")
        return head, found, tail

    def strip(self, chars: str | None = None, /) -> Traced:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> Traced:
        return self[len(self) - len(super().lstrip(chars)) :]

    def rstrip(self, chars: str | None = None, /) -> Traced:
        return self[: len(super().rstrip(chars))]

    def removeprefix(self, prefix: str, /) -> Traced:
        return self[len(prefix) if self.startswith(prefix) else 0 :]

    def removesuffix(self, suffix: str, /) -> Traced:
        return self[: len(self) - len(suffix) if self.endswith(suffix) else None]

    def ljust(self, width: SupportsIndex, fillchar: str = " ", /) -> Traced:
        return concat((self, super().ljust(width, fillchar)[len(self) :]))

    def rjust(self, width: SupportsIndex, fillchar: str = " ", /) -> Traced:
        padded = super().rjust(width, fillchar)
        return concat((padded[: len(padded) - len(self)], self))

    def lower(self) -> str:
        return self.recased(super().lower())

    def upper(self) -> str:
        return self.recased(super().upper())

    def capitalize(self) -> str:
        return self.recased(super().capitalize())

    def title(self) -> str:
        return self.recased(super().title())

    def swapcase(self) -> str:
        return self.recased(super().swapcase())

    def recased(self, text: str) -> str:
        """`text` is this one in another case: at equal length, character by character (none ever becomes nothing)."""
        return Traced(text, self._origin) if len(text) == len(self) else text

    def _parts(self, parts: Iterable[str], sep: str | None = None) -> list[str]:
        return [self[start:stop] for start, stop in self._places(parts, sep)]

    def _places(self, parts: Iterable[str], sep: str | None) -> Iterator[tuple[int, int]]:
        """Where successive parts stand, with `sep` between them; None: with what no part begins with."""
        stop = 0
        for part in parts:
            start = self.index(part, stop) if sep is None else stop
            yield start, start + len(part)
            stop = start + len(part) + len(sep or "")


class TracedMarkup(Markup):
    """What the filter `safe` makes: Markup escapes the text that is added to it."""

    __slots__ = ("_origin",)
    _origin: bytes

    def __new__(cls, text: str, origin: bytes | None = None) -> TracedMarkup:
        self = super().__new__(cls, text)
        self._origin = bytes(len(text)) if origin is None else origin
        return self

    def __str__(self) -> Traced:
        return Traced(str.__str__(self), self._origin)

    def __add__(self, other: Any) -> TracedMarkup:
        total: TracedMarkup = _sum(super().__add__(other), self, other)
        return total

    def __radd__(self, other: Any) -> TracedMarkup:
        total: TracedMarkup = _sum(super().__radd__(other), other, self)
        return total


def _sum(whole: Any, *terms: Any) -> Any:
    """`whole`, traced by its terms if they needed no escaping."""
    if whole is NotImplemented:
        return NotImplemented
    text = aligned(terms, str.__str__(whole))
    return TracedMarkup(text, origin_of(text))


def _not_text(value: object) -> bool:
    """Markup escapes what it is added to, so it does that itself."""
    return not isinstance(value, str) or isinstance(value, Markup)


def origin_of(text: str) -> bytes:
    """One byte a character: 1 if the template wrote it. Zeros for text that is not traced."""
    return text._origin if isinstance(text, (Traced, TracedMarkup)) else bytes(len(text))


def traced(text: str) -> Traced:
    """The text with its origin: a message's if it has none."""
    return text if isinstance(text, Traced) else Traced(text, bytes(len(text)))


def from_template(text: str) -> Traced:
    """A text that the template wrote."""
    return Traced(text, b"\1" * len(text))


def concat(pieces: Iterable[str]) -> Traced:
    """The pieces joined."""
    pieces = list(pieces)
    return Traced("".join(pieces), b"".join(map(origin_of, pieces)))


def aligned(pieces: Iterable[str], text: str) -> str:
    """`text`, traced by the pieces that should make it up; if they do not, it counts as a message's."""
    whole = concat(pieces)
    return whole if whole == text else text
