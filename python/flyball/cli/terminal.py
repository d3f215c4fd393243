"""What may reach a terminal: text of models and files must not give it commands."""

from __future__ import annotations

from typing import IO

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"}  # U+241B for ESC, and so on
_HARMLESS = (
    _PICTURES
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")  # C1: U+009B begins a sequence as ESC [ does
    | {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): None}  # a lone \r would overwrite the line
)


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a standard stream is there, open, and a terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def harmless(text: str) -> str:
    """Text whose control characters are shown instead of obeyed, but for newline and tab; carriage returns are dropped.

    Each character is judged alone, so that no sequence comes through in pieces either.
    """
    return text.translate(_HARMLESS)
