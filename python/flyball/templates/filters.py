"""Filters that Jinja has in another form, or not at all: they count before they make, and trace text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment
from jinja2.exceptions import FilterArgumentError
from jinja2.filters import do_title, make_attrgetter
from markupsafe import Markup, soft_str

from .budget import ELEMENT, Budget, size_of
from .formatting import percent
from .traced import Traced, TracedMarkup, aligned, concat, origin_of, traced

_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def join(
    budget: Budget, environment: Environment, items: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    """Jinja's `join`."""
    get = _getter(environment, attribute)
    separator, texts = str(d), []
    for item in budget.turns(items):
        texts.append(text_of(budget, get(item)))
        budget.make(len(texts[-1]) + len(separator))
    return traced(separator).join(texts)


def _getter(environment: Environment, attribute: str | int | None) -> Callable[[Any], Any]:
    return make_attrgetter(environment, attribute) if attribute is not None else lambda item: item


def text_of(budget: Budget, value: Any) -> str:
    """str(value), counted before it is made where it may be large."""
    if not isinstance(value, (str, int, float)):
        budget.spell(value)
    return str(value)


def replace(budget: Budget, environment: Environment, s: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Jinja's `replace`."""
    text, before, after = text_of(budget, s), str(old), str(new)
    limit = -1 if count is None else count
    budget.make(replaced_size(text, before, after, limit))
    return traced(text).replace(before, after, limit)


def replaced_size(text: str, old: str, new: str, count: int = -1) -> int:
    """At most how many characters text.replace(old, new, count) has."""
    found = text.count(old)
    return len(text) + (found if count < 0 else min(found, count)) * (len(new) + ELEMENT)


def indent(
    budget: Budget, environment: Environment, s: str, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """Jinja's `indent`."""
    margin = width if isinstance(width, str) else None
    budget.make((int(width) if margin is None else len(margin)) * (s.count("\n") + 1) + len(s))
    if margin is None:
        margin = " " * int(width)
    lines = traced(s + "\n").splitlines()
    pieces: list[str] = [margin] if first else []
    for i, line in enumerate(lines):
        if i:
            pieces += ("\n", margin) if line or blank else ("\n",)
        pieces.append(line)
    return concat(pieces)


def safe(budget: Budget, environment: Environment, value: Any) -> Markup:
    """Jinja's `safe`."""
    text = text_of(budget, value)
    return TracedMarkup(text, origin_of(text))


def format_text(budget: Budget, environment: Environment, value: Any, *args: Any, **kwargs: Any) -> str:
    """Jinja's `format`."""
    if args and kwargs:
        raise FilterArgumentError("can't handle positional and keyword arguments at the same time")
    return percent(budget, soft_str(value), kwargs or args)


def title(budget: Budget, environment: Environment, s: Any) -> str:
    """Jinja's `title`, which knows other words than str.title()."""
    text = traced(text_of(budget, s))
    return text.recased(do_title(text))


def to_json(
    budget: Budget,
    environment: Environment,
    x: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """`tojson` as transformers has it: parameters in this order, nothing escaped for HTML."""
    margin = size_of(indent) if isinstance(indent, str) else int(indent or 0)
    extra = sum(map(len, separators or ()))
    budget.make((budget.spell(x) // ELEMENT) * (extra + max(0, margin) * (1 + _depth(x))))
    options: dict[str, Any] = {"ensure_ascii": ensure_ascii}
    text = json.dumps(x, indent=indent, separators=separators, sort_keys=sort_keys, **options)
    if '"' in "".join(separators or ()) or (isinstance(indent, str) and '"' in indent):
        return text
    return _trace_json(text, x, sort_keys, lambda c: len(json.dumps(c, **options)) - 2)


def _depth(value: Any) -> int:
    if isinstance(value, Mapping):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, (list, tuple)) else 0


def _trace_json(text: str, value: Any, sort_keys: bool, size: Callable[[str], int]) -> str:
    """The n-th string of a JSON text is the n-th of the value. Everything around them counts as a message's."""
    leaves = list(_leaves(value, sort_keys))
    if not any(isinstance(leaf, Traced) for leaf in leaves):
        return text
    pieces: list[str] = []
    end = 0
    for found, leaf in zip(_JSON_STRING.finditer(text), leaves, strict=True):
        if not isinstance(leaf, Traced):
            continue
        marks = origin_of(leaf)
        if len(found[1]) != len(leaf):
            marks = b"".join(marks[i : i + 1] * size(c) for i, c in enumerate(str.__iter__(leaf)))
        pieces += (text[end : found.start(1)], Traced(found[1], marks))
        end = found.end(1)
    return aligned([*pieces, text[end:]], text)


def _leaves(value: Any, sort_keys: bool) -> Iterator[Any]:
    """What becomes a string in JSON, in its order; keys that are numbers do."""
    if isinstance(value, Mapping):
        for key, item in sorted(value.items()) if sort_keys else value.items():
            yield key
            yield from _leaves(item, sort_keys)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item, sort_keys)
    elif isinstance(value, str):
        yield value


def from_json(budget: Budget, environment: Environment, text: str) -> Any:
    """The value of a JSON text. transformers has no such filter, but templates use it."""
    budget.make(ELEMENT * len(text))
    return json.loads(text)


def sum_items(
    budget: Budget,
    environment: Environment,
    iterable: Iterable[Any],
    attribute: str | int | None = None,
    start: Any = 0,
) -> Any:
    """Jinja's `sum`; it adds lists, too."""
    get = _getter(environment, attribute)

    def counted() -> Iterator[Any]:
        for item in iterable:
            value = get(item)
            budget.step()
            budget.make(size_of(value))
            yield value

    return sum(counted(), start)
