"""Quotas of projects, looked at before anything is computed.

What this server begins it knows exactly. What others on the same store have begun it reads there while requests go on,
and goes by nothing older than five seconds: together they may exceed a quota by what the others begin in that time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import Error
from ..store import Quota
from ..store.quotas import Used
from .failures import Failure

if TYPE_CHECKING:
    from ..store import Store

NOT_COUNTED = ("observe", "audit", "admin")  # scopes: whoever raises a quota must get in
QUOTA = "quota_"  # with which the codes of refusals begin
_DAY_MS, _MINUTE_MS = 86_400_000, 60_000
_FRESH_SECONDS = 1.0  # after that it is read again
_OLD_SECONDS = 5.0  # after that no request goes by it
_RESTS = 20  # times as long as reading took, the store is left alone
_NOBODY = Used(0, 0, 0)


@dataclass
class _Account:
    """One project. `elsewhere`: what others used, and this server before it was started; the rest is this server's."""

    quota: Quota | None = None  # None: not read yet
    elsewhere: Used = _NOBODY
    stale_at: float = 0.0
    old_at: float = 0.0
    reading: asyncio.Task[None] | None = None
    asked: deque[int] = field(default_factory=deque)  # times of requests of the last minute
    n_running: int = 0
    day: int = 0
    tokens: int = 0  # of that day: used, or reserved by what runs


class Reservation:
    """Tokens that an answer may have, until settle() says how many it had."""

    def __init__(self, account: _Account, tokens: int) -> None:
        self._account = account
        self._day = account.day
        self._tokens = tokens
        self._is_open = True
        account.n_running += 1
        account.tokens += tokens

    def settle(self, tokens: int) -> None:
        """The answer has ended; a second time does nothing."""
        if self._is_open:
            self._is_open = False
            self._account.n_running -= 1
            if self._account.day == self._day:
                self._account.tokens += tokens - self._tokens


class Quotas:
    """For the event loop's thread alone; the store is read in others. Without a store nothing is limited."""

    def __init__(self, store: Store | None, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        """`clock`: milliseconds since 1970."""
        self._store = store
        self._clock = clock
        self._started = clock()
        self._accounts: dict[str, _Account] = {}

    async def admit(self, project: str) -> None:
        """Count a request; Failure 429 if the project has had its requests of this minute."""
        account, quota = await self._known(project)
        now = self._clock()
        while account.asked and account.asked[0] <= now - _MINUTE_MS:
            account.asked.popleft()
        most = quota.requests_per_minute
        if most is not None and len(account.asked) + account.elsewhere.n_requests >= most:
            first = account.asked[0] if account.asked else now
            raise _exceeded("requests_per_minute", most, (first + _MINUTE_MS - now) / 1000)
        if most is not None:
            account.asked.append(now)

    async def reserve(self, project: str, tokens: int) -> Reservation:
        """Reserve prompt and longest answer; Failure 429 if the project may not have them now."""
        account, quota = await self._known(project)
        day = self._clock() // _DAY_MS
        if day != account.day:
            account.day, account.tokens = day, 0
        most = quota.concurrent
        if most is not None and account.n_running + account.elsewhere.n_running >= most:
            raise _exceeded("concurrent", most, 1)
        most = quota.tokens_per_day
        if most is not None and account.tokens + account.elsewhere.tokens + tokens > most:
            raise _exceeded("tokens_per_day", most, ((day + 1) * _DAY_MS - self._clock()) / 1000)
        return Reservation(account, tokens)

    async def _known(self, project: str) -> tuple[_Account, Quota]:
        """What is known of a project; read again where it is old. Failure 503 where it was never known."""
        account = self._accounts.setdefault(project, _Account())
        if self._store is None:
            return account, Quota()
        now = time.monotonic()
        if now >= account.stale_at and (account.reading is None or account.reading.done()):
            account.reading = asyncio.create_task(self._read(self._store, account, project))
        if account.reading is not None and (account.quota is None or now >= account.old_at):
            await asyncio.shield(account.reading)
        if account.quota is None:
            what = "the project's quotas cannot be read now; try again"
            raise Failure(503, what, code="unavailable", headers={"retry-after": "2"})
        return account, account.quota

    async def _read(self, store: Store, account: _Account, project: str) -> None:
        now, begun = self._clock(), time.monotonic()

        def read() -> tuple[Quota, Used]:
            quotas = store.project(project).quotas
            quota = quotas.get()
            if quota == Quota():
                return quota, _NOBODY
            return quota, quotas.used(now - now % _DAY_MS, now - _MINUTE_MS, self._started)

        with suppress(Error):  # what was known before holds on
            account.quota, account.elsewhere = await asyncio.to_thread(read)
        rest = _RESTS * (time.monotonic() - begun)
        account.stale_at, account.old_at = begun + max(_FRESH_SECONDS, rest), begun + max(_OLD_SECONDS, rest)


def _exceeded(name: str, most: int, seconds: float) -> Failure:
    what = f"the project's quota of {name} is {most}, and used up; ask again later, or have it raised"
    return Failure(429, what, code=QUOTA + name, headers={"retry-after": str(max(1, int(seconds + 0.999)))})
