"""`str.format` and `%` with traced text. The results are Python's own; only the origin is found here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedFormatter

from .budget import Budget
from .traced import Traced, aligned, from_template, origin_of

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

_NUMBER = re.compile(r"\d+")
_CONVERSION = re.compile(
    r"%(?:\((?P<key>[^()]*)\))?(?P<how>[-#0 +]*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?[hlL]?)(?P<type>.)", re.S
)


def width_of(spec: str) -> int:
    """At most how many characters a format adds to its value: all its widths and precisions."""
    return sum(int(number[:20]) for number in _NUMBER.findall(spec))


class _Formatter(SandboxedFormatter):
    """Notes each field's text, and counts its width before there is one."""

    def __init__(self, environment: SandboxedEnvironment, budget: Budget) -> None:
        super().__init__(environment)
        self._budget = budget
        self.texts: list[str] = []

    def format_field(self, value: Any, format_spec: str) -> str:
        self._budget.make(width_of(format_spec) + self._budget.spell(value))
        plain = isinstance(value, str) and not format_spec
        text: str = value if plain else super().format_field(value, format_spec)
        self.texts.append(text)
        return text

    def n_fields(self, text: str) -> int:
        return sum(field is not None for _, field, _, _ in self.parse(text))


def format_text(
    environment: SandboxedEnvironment,
    budget: Budget,
    text: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> str:
    """text.format(*args, **kwargs), with attributes as the sandbox allows them."""
    formatter = _Formatter(environment, budget)
    result = formatter.vformat(text, args, kwargs)
    own = from_template if all(origin_of(text)) else str
    texts = iter(formatter.texts)

    def pieces() -> Iterator[str]:
        for literal, field, spec, _ in formatter.parse(text):
            yield own(literal)
            if field is not None:
                for _ in range(formatter.n_fields(spec or "")):  # a width that is a field itself
                    next(texts)
                yield next(texts)

    return aligned(pieces(), result)


def percent(budget: Budget, text: str, values: Any) -> str:
    """text % values."""
    budget.make(len(text) + _percent_width(text, values) + budget.spell([values]))
    result = text % values
    return aligned(_percent_pieces(text, values), result) if isinstance(text, Traced) and "*" not in text else result


def _percent_pieces(text: str, values: Any) -> Iterator[str]:
    rest = iter(values if isinstance(values, tuple) else (values,))
    end = 0
    for found in _CONVERSION.finditer(text):
        yield text[end : found.start()]
        end = found.end()
        if found["type"] == "%":
            yield text[end - 1 : end]
            continue
        value = next(rest) if found["key"] is None else values[found["key"]]
        plain = isinstance(value, str) and found["type"] == "s" and not found["how"]
        yield value if plain else f"%{found['how']}{found['type']}" % (value,)
    yield text[end:]


def _percent_width(text: str, values: Any) -> int:
    """At most how many characters text % values adds to its parts by widths and precisions."""
    numbers = [value for value in values if isinstance(value, int)] if isinstance(values, tuple) else []
    stars = sum(map(abs, numbers)) if "*" in text else 0
    return stars + sum(width_of(found["how"]) for found in _CONVERSION.finditer(text))
