"""A cached answer as bytes: its receipt and its pieces. Bytes that come back are hostile until all of it is checked.

Format 1: the SHA-256 of the rest in hexadecimal, a newline, and a JSON object: {version, id, project, key, receipt (its
JSON text), pieces: [[token or null, text, logprob, [[token, text, logprob], ...]], ...], cached_tokens, cycles}.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import _core
from ..engine.options import MAX_TOP_LOGPROBS
from ..engine.receipt import Receipt
from ..engine.results import Piece, Result, TopLogprob
from ..errors import Error, FormatError
from ..store.cached_answers import MOST_BYTES

ENDED = ("eos", "stop_string", "stop_token", "max_tokens")  # by itself: not by time, a person, the governor or room
_HARMLESS = "SPECULATION_"  # decisions that change no answer
_VERSION = 1
_MOST_TOKEN = 2**31
_MOST_COUNT = 2**62
_MOST_ID = 64  # characters


def key_of(request_key: str, top_logprobs: int) -> str:
    """What names an answer to this question, with all that its client gets: a SHA-256 in hexadecimal.

    Another version of Flyball keeps the bits, but for defects that it mends: so it looks for its own answers alone.
    """
    text = f"flyball cached answer {_VERSION} {_core.version} {request_key} {top_logprobs}"
    return hashlib.sha256(text.encode()).hexdigest()


def may_be_kept(result: Result, request_key: str) -> bool:
    """Whether the answer is the one that everybody gets who asks this."""
    decided = any(not decision.reason_id.startswith(_HARMLESS) for decision in result.decisions)
    return result.stop_reason in ENDED and not decided and result.request_key == request_key


@dataclass(frozen=True)
class CachedAnswer:
    """An answer as it was computed.

    id             of its receipt
    cached_tokens  of the prompt, that were not computed
    cycles         what prefill and decode cost
    """

    id: str
    receipt: Receipt
    pieces: tuple[Piece, ...]
    cached_tokens: int
    cycles: int

    @classmethod
    def of(cls, id: str, result: Result, pieces: Sequence[Piece]) -> CachedAnswer:
        """From an answer that was computed."""
        metrics = result.metrics
        cycles = metrics.prefill.cycles + metrics.decode.cycles
        return cls(id, result.receipt, tuple(pieces), metrics.cached_tokens, cycles)

    @property
    def n_tokens(self) -> int:
        """Of prompt and answer together."""
        return len(self.receipt["prompt_tokens"]) + len(self.receipt["tokens"])

    def encode(self, project: str, key: str) -> bytes:
        """As bytes for this place. Raises FormatError where they are too many, or a probability is no number."""
        members = {
            "version": _VERSION,
            "id": self.id,
            "project": project,
            "key": key,
            "receipt": self.receipt.json,
            "pieces": [
                [piece.token, piece.text, piece.logprob, [list(top) for top in piece.top_logprobs]]
                for piece in self.pieces
            ],
            "cached_tokens": self.cached_tokens,
            "cycles": self.cycles,
        }
        try:
            raw = json.dumps(members, separators=(",", ":"), allow_nan=False).encode()
        except ValueError:
            raise _wrong("has a log-probability that is no number") from None
        if len(raw) > MOST_BYTES - 100:
            raise _wrong(f"has {len(raw) >> 20} MiB, may have {MOST_BYTES >> 20}")
        return hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw

    @classmethod
    def decode(cls, raw: bytes, project: str, key: str, request_key: str) -> CachedAnswer:
        """From bytes found at this place for this question. Raises FormatError for anything else than its answer."""
        digest, newline, body = raw.partition(b"\n")
        if not newline or len(raw) > MOST_BYTES or hashlib.sha256(body).hexdigest().encode() != digest:
            raise _wrong("has another checksum than its content")
        try:
            members = json.loads(body)
        except (ValueError, RecursionError):
            raise _wrong("is no JSON") from None
        if not isinstance(members, dict) or members.get("version") != _VERSION:
            raise _wrong(f"is not of version {_VERSION}")
        if (members.get("project"), members.get("key")) != (project, key):
            raise _wrong("is of another project or question")
        found = cls(
            _text(members, "id", _MOST_ID),
            _receipt(_text(members, "receipt", MOST_BYTES)),
            tuple(map(_piece, _list(members.get("pieces")))),
            _count(members, "cached_tokens"),
            _count(members, "cycles"),
        )
        found._check(request_key)
        return found

    def _check(self, request_key: str) -> None:
        """That receipt and pieces are of one answer, and that it is this question's."""
        receipt = self.receipt
        if receipt.request_key != request_key:
            raise _wrong("has the receipt of another question")
        if receipt["stop"]["reason"] not in ENDED:
            raise _wrong("did not end by itself")
        tokens = [piece.token for piece in self.pieces if piece.token is not None]
        if tokens != receipt["tokens"] or "".join(piece.text for piece in self.pieces) != receipt["text"]:
            raise _wrong("has other pieces than its receipt")


def _receipt(text: str) -> Receipt:
    try:
        return Receipt(text)
    except Error as error:
        raise _wrong(f"has a receipt that is none ({error})") from None


def _piece(item: Any) -> Piece:
    token, text, logprob, tops = _row(item, 4)
    if token is not None:
        token = _token(token)
    if not isinstance(text, str):
        raise _wrong("has a piece without text")
    tops = _list(tops)
    if len(tops) > MAX_TOP_LOGPROBS:
        raise _wrong("has too many likeliest tokens")
    return Piece(text, token, _logprob(logprob), tuple(map(_top, tops)))


def _top(item: Any) -> TopLogprob:
    token, text, logprob = _row(item, 3)
    if not isinstance(text, str):
        raise _wrong("has a likely token without text")
    return TopLogprob(_token(token), text, _logprob(logprob))


def _row(item: Any, n: int) -> list[Any]:
    if not isinstance(item, list) or len(item) != n:
        raise _wrong("has a piece that is none")
    return item


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong("has no list of pieces")
    return value


def _token(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_TOKEN:
        raise _wrong("has a token that is none")
    return value


def _logprob(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _wrong("has a log-probability that is none")
    return float(value)


def _count(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or not 0 <= value < _MOST_COUNT:
        raise _wrong(f"has no count of {name}")
    return value


def _text(members: dict[str, Any], name: str, most: int) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _wrong(f"has no {name}")
    return value


def _wrong(what: str) -> FormatError:
    return FormatError("cached answer", what)
