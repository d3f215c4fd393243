"""How a conversation looks: the model's text as it is; on a terminal, thinking and remarks are dim."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from ...answers.parts import Delta
from .. import common
from ..terminal import is_terminal

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def obeys() -> bool:
    """Whether the terminal is one that obeys escape sequences."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


class Screen:
    """Writes to standard output. NO_COLOR and terminals that cannot dim get plain text."""

    def __init__(self) -> None:
        self._styled = is_terminal(sys.stdout) and obeys() and not os.environ.get("NO_COLOR")

    def write(self, text: str, dim: bool = False) -> None:
        """Write text, whose control characters common.write() disarms."""
        if dim and self._styled and text:
            sys.stdout.write(_DIM)
            try:
                common.write(text)
            finally:
                sys.stdout.write(_PLAIN)
                sys.stdout.flush()
        else:
            common.write(text)

    def note(self, text: str) -> None:
        """A remark of the program, on a line of its own."""
        self.write(f"({text})\n", dim=True)


class AnswerView:
    """Shows an answer as it comes: thoughts dim or not at all, a blank line before the text for the user."""

    def __init__(self, screen: Screen, hides_thinking: bool) -> None:
        self._screen = screen
        self._hides_thinking = hides_thinking
        self._thought = False  # the last thing that was written

    def show(self, deltas: Iterable[Delta]) -> None:
        """Write what came."""
        for delta in deltas:
            if delta.reasoning_content and not self._hides_thinking:
                self._screen.write(delta.reasoning_content, dim=True)
                self._thought = True
            if delta.content:
                self._screen.write("\n\n" + delta.content if self._thought else delta.content)
                self._thought = False
