"""Control tokens in the text of an answer: each is one character that no text can hold.

A tag such as `<tool_call>` is a control token in one vocabulary and plain text in the next. Where it is a token, only
the token counts, never its spelling. So an answer is read as a text in which every control token of its format is a
lone surrogate: text that was decoded from UTF-8 has none.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_FIRST, _MOST = 0xD800, 0x800


def _no_bytes(_: list[int]) -> bytes:
    return b""


@dataclass(frozen=True)
class Vocabulary:
    """What reading an answer needs of a tokenizer: the texts of control tokens, the bytes of tokens without control
    tokens, and the control tokens that end an answer and are no part of it."""

    controls: Mapping[int, str] = field(default_factory=dict)
    detokenize: Callable[[list[int]], bytes] = _no_bytes
    ends: frozenset[int] = frozenset()


class Symbols:
    """Control tokens as characters, and back."""

    def __init__(self, tags: Iterable[str], controls: Iterable[str]) -> None:
        tags = list(tags)
        used = sorted({text for text in controls if text and any(text in tag for tag in tags)}, key=len, reverse=True)
        self._characters = {text: chr(_FIRST + i) for i, text in enumerate(used[:_MOST])}
        self._texts = {ord(character): text for text, character in self._characters.items()}
        self._pattern = re.compile("|".join(map(re.escape, self._characters)) or "(?!)")

    def __call__(self, tag: str) -> str:
        """A tag with its control tokens as characters."""
        return self._pattern.sub(lambda found: self._characters[found[0]], tag)

    def token(self, text: str) -> str:
        """What stands for a control token: its text, if the format does not know it."""
        return self._characters.get(text, text)

    def text(self, text: str) -> str:
        """The text with all control tokens spelled."""
        return text.translate(self._texts) if self._texts else text


class Aligned:
    """Puts control tokens where they stand in the text of a stream.

    A token's text may come steps later, while it could still be the beginning of a stop string or of a character.
    """

    def __init__(self, vocabulary: Vocabulary, symbols: Symbols, before: Sequence[int] = ()) -> None:
        """`before`: the last token of the prompt."""
        self._vocabulary = vocabulary
        self._symbols = symbols
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._previous = list(before)
        self._made = self._given = 0  # characters: of the tokens so far, and of the text so far
        self._waiting: deque[tuple[int, str]] = deque()

    def next(self, token: int | None, text: str) -> Iterator[str]:
        """The characters of a step, control tokens among them."""
        if token is not None:
            self._count(token)
        for character in text:
            yield from self._due()
            yield character
            self._given += 1
        yield from self._due()

    def _count(self, token: int) -> None:
        control = self._vocabulary.controls.get(token)
        if token in self._vocabulary.ends:
            pass
        elif control is not None:
            self._waiting.append((self._made, self._symbols.token(control)))
        else:
            before = len(self._vocabulary.detokenize(self._previous))
            made = self._vocabulary.detokenize([*self._previous, token])[before:]
            self._made += len(self._decoder.decode(made))
        self._previous = [token]

    def _due(self) -> Iterator[str]:
        while self._waiting and self._waiting[0][0] <= self._given:
            yield from self._waiting.popleft()[1]
