"""At most how many characters an operation makes: known before it runs, for those that make much of little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .budget import ELEMENT, Budget, size_of
from .filters import replaced_size
from .traced import Traced


def _width(text: str, width: int = 0, *_: Any) -> int:
    return len(text) + width


def _parts(text: str, sep: str | None = None, *_: Any, **__: Any) -> int:
    count = text.count(sep) if sep else sum(map(text.count, " \t\n\r"))
    return len(text) + (count + 1) * _piece(text)


def _piece(text: str) -> int:
    """A text of its own takes memory beside its characters."""
    return 128 if isinstance(text, Traced) else 32


METHODS: dict[str, Callable[..., int]] = {
    "center": _width,
    "expandtabs": lambda text, tabsize=8: len(text) + text.count("\t") * tabsize,
    "format": lambda text, *args, **kwargs: len(text),  # and the widths, when they are known
    "format_map": lambda text, values: len(text),
    "join": lambda text, parts: sum(size_of(part) + len(text) for part in parts),
    "ljust": _width,
    "replace": lambda text, old, new, count=-1: replaced_size(text, old, new, count),
    "rjust": _width,
    "rsplit": _parts,
    "split": _parts,
    "splitlines": _parts,
    "translate": lambda text, table: len(text) * max(map(size_of, dict(table).values()), default=1),
    "zfill": _width,
}
# Methods of numbers and bytes that templates do without.
REFUSED = frozenset({"to_bytes", "center", "expandtabs", "join", "ljust", "replace", "rjust", "translate", "zfill"})


def _wrapped(budget: Budget, _: Any, text: Any, *args: Any, **kwargs: Any) -> int:
    """Text between words: each may be as long as an argument."""
    return (1 + len(str(text))) * sum(len(a) for a in (*args, *kwargs.values()) if isinstance(a, str))


def _spelled(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> int:
    return budget.spell(value)


def _letters(budget: Budget, _: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """A list of a text's characters."""
    return len(value) * _piece(value) if isinstance(value, str) else 0


# Jinja passes some filters an environment or a context first.
FILTERS: dict[str, Callable[..., int]] = {
    "batch": lambda budget, value, linecount, fill_with=None: 0 if fill_with is None else ELEMENT * linecount,
    "center": lambda budget, value, width=80: width,
    "groupby": _letters,
    "list": _letters,
    "pprint": _spelled,
    "slice": lambda budget, _, value, slices, fill_with=None: ELEMENT * slices + _letters(budget, _, value),
    "sort": _letters,
    "string": _spelled,
    "urlize": _wrapped,
    "wordwrap": _wrapped,
}
