"""What one rendering may cost, whatever its template does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

from jinja2.utils import Namespace

from ..errors import TemplateError

MAX_STEPS = 500_000  # loop iterations and calls of one rendering
MAX_CHARACTERS = 64 << 20  # created by all operations of one rendering together
MAX_SECONDS = 5.0
ELEMENT = 4  # characters that an element of a list or a mapping counts as
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_SPELLING = 64  # characters that writing a list or a mapping counts as, beside what is in it


class Budget:
    """The remaining budget of one rendering."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_CHARACTERS
        self.deadline = time.thread_time() + MAX_SECONDS

    def step(self) -> None:
        """Count one loop iteration or call."""
        self.steps -= 1
        if self.steps < 0 or (self.steps % 256 == 0 and time.thread_time() > self.deadline):
            what = f"takes more than {MAX_STEPS} steps or {MAX_SECONDS:g} seconds of processor time"
            raise TemplateError("template", what)

    def make(self, size: int) -> None:
        """Count `size` created characters."""
        self.characters -= max(0, size)
        if self.characters < 0:
            raise TemplateError("template", f"makes more than {MAX_CHARACTERS} characters")

    def keep(self, value: object) -> None:
        """Count a value that an operation made."""
        if isinstance(value, (str, bytes, list, tuple)):
            self.make(size_of(value))

    def turns(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each counted as one step."""
        for item in items:
            self.step()
            yield item

    def spell(self, value: Any) -> int:
        """Count what it takes to write a value as text, and return its characters.

        Lists can contain one another, so that a few of them have a text without end.
        """
        if isinstance(value, dict):
            parts: Iterable[Any] = itertools.chain.from_iterable(value.items())
        elif isinstance(value, (list, tuple, *_VIEWS)):
            parts = cast(Iterable[Any], value)
        elif isinstance(value, Namespace):
            raise TemplateError("template", "writes a namespace as text, which templates may not")
        else:
            return len(value) + ELEMENT if isinstance(value, str) else ELEMENT
        self.make(_SPELLING)
        return sum([self.spell(part) for part in parts], ELEMENT)


def size_of(value: object) -> int:
    """A value's length in characters."""
    if isinstance(value, (str, bytes)):
        return len(value)
    return ELEMENT * len(value) if isinstance(value, (list, tuple)) else ELEMENT
