"""A model's vocabulary as llguidance wants it."""

from __future__ import annotations

import re
from typing import Any, Protocol

from ..errors import Error, Unsupported
from . import library

_CONTROL = b"\xff"  # before what is no text
_ANCHOR = b"\n"  # keeps the space that some vocabularies put before a text away from it


class Core(Protocol):
    """The part of ModelCore that is used."""

    def info(self) -> dict[str, Any]: ...

    def piece(self, token: int, special: bool) -> bytes: ...

    def tokenize(self, utf8: bytes, add_special: bool, parse_special: bool) -> list[int]: ...

    def is_end_of_generation(self, token: int) -> bool: ...


class Tokens:
    """The bytes that each token adds to an answer's text. Control tokens, and those that end an answer, add none.

    llguidance reads the attributes without an underscore, and calls the object for the ids of a text.
    """

    bos_token_id = None

    def __init__(self, core: Core) -> None:
        self._core = core
        self.tokens: list[bytes] = []
        self._ends: list[int] = []
        for token in range(core.info()["n_vocab"]):
            shown = core.piece(token, False)
            if core.is_end_of_generation(token):
                self._ends.append(token)
                shown = b""
            self.tokens.append(shown or _CONTROL + core.piece(token, True))
        if not self._ends:
            raise Unsupported("constraint", "needs a token that ends an answer, and the model's vocabulary has none")
        self.eos_token_id = self._ends[0]
        self._controls = {
            text[1:].decode("utf-8", "replace"): token
            for token, text in enumerate(self.tokens)
            if text.startswith(_CONTROL) and len(text) > 1
        }
        self.special_token_ids = sorted(self._controls.values())
        self._texts = {text: token for token, text in reversed(list(enumerate(self.tokens)))}
        self._longest = max(map(len, self.tokens))
        self._anchor = core.tokenize(_ANCHOR, False, False)

    def tokenizer(self) -> Any:
        """The LLTokenizer of the vocabulary; takes seconds for a large one."""
        llguidance = library.load()
        return llguidance.LLTokenizer(llguidance.TokenizerWrapper(self), eos_token=self._ends)

    def __call__(self, text: bytes | str) -> list[int]:
        """The ids of a text in the middle of an answer."""
        raw = text.encode() if isinstance(text, str) else text
        n = len(self._anchor)
        try:
            ids = self._core.tokenize(_ANCHOR + raw, False, False)
        except Error:  # must not reach Rust
            ids = []
        if ids[:n] == self._anchor and b"".join(self.tokens[token] for token in ids[n:]) == raw:
            return ids[n:]
        return self._greedy(raw)

    def _greedy(self, raw: bytes) -> list[int]:
        ids: list[int] = []
        while raw:
            length = next((n for n in range(min(self._longest, len(raw)), 0, -1) if raw[:n] in self._texts), 0)
            if not length:
                break
            ids.append(self._texts[raw[:length]])
            raw = raw[length:]
        return ids

    def elements(self, tag: str) -> list[int | str]:
        """A tag as control tokens, where the vocabulary has them, and text."""
        known = sorted((text for text in self._controls if text in tag), key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, known)) + ")", tag) if known else [tag]
        return [self._controls.get(part, part) for part in parts if part]
