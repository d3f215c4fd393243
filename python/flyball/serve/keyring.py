"""Who holds an API key: the keys that the server was started with, those of its store, and tokens of an issuer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import Error, NotFound
from ..store import Key, Store
from ..store.roles import ROLES
from ..store.store import DEFAULT_PROJECT
from .failures import Failure
from .issuers import Claims, Issuer

REMEMBERED_SECONDS = 2.0  # a revoked key is refused after at most so long
_MOST_REMEMBERED = 1024


@dataclass(frozen=True)
class Holder:
    """Whoever asks: `client` for fairness, `project` for what may be seen, `scopes` for what may be done, `name` for
    the log of administrative acts."""

    client: str
    project: str = DEFAULT_PROJECT
    scopes: frozenset[str] = frozenset()
    name: str = "local"

    @classmethod
    def of_key(cls, key: Key, project: str) -> Holder:
        """Of a stored key."""
        client = key.id if key.user is None else client_of(project, key.user)
        return cls(client, project, key.granted, key.id if key.user is None else f"{key.user} ({key.id})")

    @classmethod
    def of_claims(cls, claims: Claims) -> Holder:
        """Of an issuer's token."""
        client = client_of(claims.project, claims.user)
        return cls(client, claims.project, ROLES[claims.role], f"{claims.user} (issuer)")


def client_of(project: str, user: str) -> str:
    """A user's name in queues and memory, the same for all their keys; none of another project has it."""
    digest = hashlib.sha256(f"{len(project)}:{project}{user}".encode(errors="replace")).hexdigest()
    return f"user_{digest[:24]}"


class Keyring:
    """Finds the holder of a key. What it remembers of keys is hashes, salted anew in every process."""

    def __init__(
        self,
        own: Sequence[str] = (),
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        issuer: Issuer | None = None,
    ) -> None:
        """`own`: keys of the default project's owner; `store`: has more, which may come and go."""
        self._salt = os.urandom(32)
        self._own = tuple(map(self._hashed, own))
        self._store = store
        self._clock = clock
        self._issuer = issuer
        self._remembered: OrderedDict[bytes, tuple[Holder, float]] = OrderedDict()

    async def holder(self, key: str) -> Holder | None:
        """Who holds this key; None: nobody. Failure 503 where the store does not say."""
        hashed = self._hashed(key)
        equal = [hmac.compare_digest(hashed, own) for own in self._own]  # all of them, so that time tells nothing
        if any(equal):
            return Holder(_client(key), scopes=ROLES["owner"], name="key of the server")
        if not key:
            return None
        if (found := self._recall(hashed)) is not None:
            return found
        try:
            found = await asyncio.to_thread(self._look, key)
        except Error:  # its words are for the operator
            what = "API keys cannot be checked now; try again"
            raise Failure(503, what, code="unavailable", headers={"retry-after": "2"}) from None
        if found is None:  # never remembered: a new key is good at once
            return None
        self._remembered[hashed] = found, self._clock() + REMEMBERED_SECONDS
        while len(self._remembered) > _MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    def _look(self, key: str) -> Holder | None:
        claims = None if self._issuer is None else self._issuer.claims(key)
        if self._store is None:
            return Holder.of_claims(claims) if claims is not None and claims.project == DEFAULT_PROJECT else None
        if claims is None:
            known = self._store.authenticate(key)
            return None if known is None else Holder.of_key(known.key, known.project.name)
        try:
            self._store.project(claims.project)
        except NotFound:
            return None
        return Holder.of_claims(claims)

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
