"""Streams that survive: the ids of their events say all that another server needs to go on.

An event's id is ANSWER.CREATED.SEED.NUMBER. A client whose connection broke, or whose server has died, sends its
request again with the last id it got as `Last-Event-ID`: the answer is the same, bit for bit, wherever it is computed,
so the events are too, and those that were sent already are left out.

Who sends `flyball-tokens: tell` gets the tokens with the events, as comments that other readers of events pass over:
": tokens FIRST ID,ID,..." where FIRST is the place of the first in the answer, from 0. Given again as the body's member
`flyball_known`, they need not be decoded once more. They are no evidence: each is checked as it is used.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.requests import Request

from .failures import Failure
from .streams import event

_ID = re.compile(r"([0-9a-f]{24})\.([0-9]{1,12})\.([0-9]{1,20})\.([0-9]{1,12})")
_MOST_KEY = 255  # characters


@dataclass(frozen=True)
class Origin:
    """Of an answer: what names it and its stream.

    n_sent  events that the client has got
    told    tokens that the next event tells; None: events tell none
    """

    id: str
    created: int
    seed: int | None = None
    n_sent: int = 0
    idempotency_key: str = ""
    told: list[int] | None = field(default=None, compare=False)

    @property
    def resumable(self) -> bool:
        """Whether the client may ask for it again."""
        return bool(self.idempotency_key or self.n_sent)

    def of_round(self, number: int) -> Origin:
        """Of a later answer to the same request: after so many rounds of plugins' calls, which nobody resumes."""
        return Origin(hashlib.sha256(f"{self.id}-round-{number}".encode()).hexdigest()[: len(self.id)], self.created)

    @classmethod
    def of(cls, request: Request) -> Origin:
        """Of a request: new, or what its Last-Event-ID says. With an Idempotency-Key, id and seed follow from that."""
        key = request.headers.get("idempotency-key", "")
        if len(key) > _MOST_KEY:
            raise Failure(
                400, f"Idempotency-Key: has {len(key)} characters, at most {_MOST_KEY}", param="Idempotency-Key"
            )
        told: list[int] | None = [] if request.headers.get("flyball-tokens") == "tell" else None
        if last := request.headers.get("last-event-id"):
            if (found := _ID.fullmatch(last)) is None or int(found[3]) >= 2**64:
                what = f"Last-Event-ID: {last[:80]!r} is none of this server's events"
                raise Failure(400, what, param="Last-Event-ID")
            return cls(found[1], int(found[2]), int(found[3]), int(found[4]), key, told)
        if not key:
            return cls(secrets.token_hex(12), int(time.time()), told=told)
        client = str(request.scope.get("flyball.client", ""))
        digest = hashlib.sha256(f"{len(client)}:{client}{key}".encode(errors="replace")).digest()
        return cls(digest[:12].hex(), int(time.time()), int.from_bytes(digest[12:20]) >> 11, 0, key, told)


class Numbered:
    """The events of one stream, with ids; those that the client has got already are empty."""

    def __init__(self, origin: Origin, seed: int) -> None:
        self._origin = origin
        self._seed = seed
        self._n = 0
        self._n_told = 0

    def event(self, data: object, name: str | None = None) -> bytes:
        """The next event."""
        self._n += 1
        if self._n <= self._origin.n_sent:
            return b""
        return self._tokens() + event(data, name, f"{self._origin.id}.{self._origin.created}.{self._seed}.{self._n}")

    def _tokens(self) -> bytes:
        told = self._origin.told
        if not told:
            return b""
        line = f": tokens {self._n_told} {','.join(map(str, told))}\n"
        self._n_told += len(told)
        told.clear()
        return line.encode()
