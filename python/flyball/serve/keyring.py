"""Who holds an API key: the keys that the server was started with, and those of its store."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import Error
from ..store import Store
from ..store.store import DEFAULT_PROJECT
from .failures import Failure

REMEMBERED_SECONDS = 2.0  # a revoked key is refused after at most so long
_MOST_REMEMBERED = 1024


@dataclass(frozen=True)
class Holder:
    """Whoever asks: `client` for fairness, `project` for what may be seen."""

    client: str
    project: str = DEFAULT_PROJECT


class Keyring:
    """Finds the holder of a key. What it remembers of keys is hashes, salted anew in every process."""

    def __init__(
        self, own: Sequence[str] = (), store: Store | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`own`: keys of the default project; `store`: has more, which may come and go."""
        self._salt = os.urandom(32)
        self._own = tuple(map(self._hashed, own))
        self._store = store
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[Holder, float]] = OrderedDict()

    async def holder(self, key: str) -> Holder | None:
        """Who holds this key; None: nobody. Failure 503 where the store does not say."""
        hashed = self._hashed(key)
        equal = [hmac.compare_digest(hashed, own) for own in self._own]  # all of them, so that time tells nothing
        if any(equal):
            return Holder(_client(key))
        if self._store is None or not key:
            return None
        if (found := self._recall(hashed)) is not None:
            return found
        try:
            known = await asyncio.to_thread(self._store.authenticate, key)
        except Error:  # its words are for the operator
            what = "API keys cannot be checked now; try again"
            raise Failure(503, what, code="unavailable", headers={"retry-after": "2"}) from None
        if known is None:  # never remembered: a new key is good at once
            return None
        found = Holder(known.key.id, known.project.name)
        self._remembered[hashed] = found, self._clock() + REMEMBERED_SECONDS
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def _recall(self, hashed: bytes) -> Holder | None:
        holder, until = self._remembered.get(hashed, (None, 0.0))
        if holder is not None and self._clock() >= until:
            del self._remembered[hashed]
            return None
        return holder

    def _hashed(self, key: str) -> bytes:
        """A fast hash will do: keys are long and random, so nobody can guess one."""
        return hmac.digest(self._salt, key.encode(errors="replace"), "sha256")


def _client(key: str) -> str:
    """The same after a restart, as an answer's id follows from it."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:16]
