"""How a conversation looks: the model's text as it is; on a terminal, thinking and remarks are dim."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from .. import common
from ..terminal import is_terminal

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<|START_THINKING|>", "<|END_THINKING|>"))


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


class Thinking:
    """Tells the parts of an answer in which the model thinks, by the tags around them, from those for the user.

    Only tags at the very beginning count; `prompt` is the end of the prompt, which may have the opening tag already.
    """

    def __init__(self, prompt: str) -> None:
        self._close = next((close for tag, close in _TAGS if prompt.rstrip().endswith(tag)), "")
        self._begun = bool(self._close)
        self._held = ""  # the beginning of what may become a tag
        self._tail = ""

    def parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """The next piece of the answer as (text, whether it is thinking); tags may come in pieces."""
        if not self._begun:
            text = self._held + text
            start = text.lstrip()
            self._close = next((close for tag, close in _TAGS if start.startswith(tag)), "")
            if not self._close and any(tag.startswith(start) for tag, _ in _TAGS):
                self._held = text
                return
            self._begun, self._held = True, ""
        if self._close:
            seen = self._tail + text
            at = seen.find(self._close)
            end = len(text) if at < 0 else at + len(self._close) - len(self._tail)
            self._tail = seen[1 - len(self._close) :]
            yield text[:end], True
            text = text[end:]
            if at >= 0:
                self._close = ""
        if text:
            yield text, False

    def rest(self) -> str:
        """What was held back when the answer ended."""
        held, self._held = self._held, ""
        return held
