"""Documents in pieces: cut between paragraphs where that is possible, each beginning with the end of the one before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_CHARACTERS = 1000
OVERLAP = 150  # characters
_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?…]\s+|\n"), re.compile(r"\s+"))  # of paragraphs, sentences, words


@dataclass(frozen=True)
class Chunk:
    """A piece of a text that begins at its character `start`."""

    start: int
    text: str


def chunks_of(text: str) -> Iterator[Chunk]:
    """The pieces of a text, at most 1,000 characters each; joined() gives the text again."""
    start = 0
    while True:
        end = _end(text, start)
        yield Chunk(start, text[start:end])
        if end == len(text):
            return
        back = end - OVERLAP
        space = _ENDS[2].search(text, back, end)
        start = space.end() if space is not None and space.end() < end else back


def joined(chunks: Iterable[Chunk]) -> str:
    """The text of these pieces, which are in order."""
    parts: list[str] = []
    n = 0
    for chunk in chunks:
        parts.append(chunk.text[n - chunk.start :])
        n += len(parts[-1])
    return "".join(parts)


def _end(text: str, start: int) -> int:
    """The best place to cut in the second half of what a piece may have."""
    most = start + MOST_CHARACTERS
    if most >= len(text):
        return len(text)
    for ends in _ENDS:
        places = [found.end() for found in ends.finditer(text, start + MOST_CHARACTERS // 2, most)]
        if places:
            return places[-1]
    return most
