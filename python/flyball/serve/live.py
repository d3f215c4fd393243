"""Settings that change while a server runs: validated whole, applied at once, followed by all servers on a store.

A revision is a set of keys and values over what the server was started with. Once it is ready, it is in force between
two steps of the event loop, and what runs keeps what it began with. A server that cannot go by a revision stays at the
one before, and says so; one that does worse with it goes back, and takes all others with it.
"""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..config.configuration import Setting, defaults
from ..errors import Error, Unavailable
from ..store.examples import Conflict
from ..store.live_settings import FIRST, LiveSettings, Revision, changes
from ..store.scope import now_ms
from .failures import Failure
from .live_health import Window, seen_of
from .live_keys import shown
from .live_ready import Ready, Started

if TYPE_CHECKING:
    from .server import Server

CHANGED, REFUSED, ROLLED_BACK = "SETTINGS_CHANGED", "SETTINGS_REFUSED", "SETTINGS_ROLLED_BACK"
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.25  # between two looks at the server's health, while a change is watched
_RETRY_SECONDS = 10.0  # after a revision could not be used here
_LATE_MS = 5000  # that a server may follow after the others, and still watch
_WHO = "server"
_KEEP_ALIVE = "serve.keep_alive"


class Live:
    """The settings of a server: for the event loop's thread alone; the store is read in others."""

    def __init__(self, server: Server, configuration: Mapping[str, Setting] | None = None) -> None:
        """`configuration`: what the server was started with; None: the defaults."""
        self._server = server
        self._started = Started(dict(configuration or defaults()), server.settings)
        self._in_force = Ready(FIRST, self._started.configuration, server.settings, {}, None, None)
        self._before: Ready | None = None  # to which a change that harms is rolled back
        self._window: Window | None = None
        self._rows: LiveSettings | None = None
        self._changing = asyncio.Lock()
        self._refused: tuple[int, float] = (FIRST.number, 0.0)  # a revision that cannot be used here, and since when
        self._harmful: tuple[int, str] = (FIRST.number, "")  # one that was taken back here, and why
        self._is_failing = False
        stays = self._started.configuration[_KEEP_ALIVE].value
        self._kept_alive = [entry for entry in server.models.entries if entry.keep_alive == stays]  # the others differ
        self.newest = FIRST  # in the store
        self.problem = ""  # why this server does not go by it

    @property
    def revision(self) -> Revision:
        """The one that this server goes by."""
        return self._in_force.revision

    @property
    def configuration(self) -> Mapping[str, Setting]:
        """Every key with the value in force."""
        return self._in_force.configuration

    @property
    def is_watched(self) -> bool:
        """Whether what was changed may still be rolled back by itself."""
        return self._window is not None

    def known(self, key: str) -> None:
        """Raise InvalidArgument for what is no key."""
        self._started.known(key)

    async def run(self) -> None:
        """Follow the store, and watch what was changed, until this is canceled."""
        polled = time.monotonic()
        while self._server.records.store is not None:
            await asyncio.sleep(_LOOK_SECONDS if self.is_watched else _POLL_SECONDS)
            try:
                await self._watch()
            except Exception as error:  # a defect of ours shall not end the following
                self._server.records.failed(error)
            if time.monotonic() - polled >= _POLL_SECONDS:
                polled = time.monotonic()
                await self.follow()

    async def follow(self) -> None:
        """Go by the newest revision. A store that does not answer changes nothing, and is told once."""
        if self._server.records.store is None:
            return
        try:
            async with self._changing:
                await self._follow()
            self._is_failing = False
        except Exception as error:
            if not self._is_failing:
                self._server.records.failed(error)
            self._is_failing = True

    async def _follow(self) -> None:
        newest = await asyncio.to_thread(lambda: self.rows.current())
        if newest.number == self._harmful[0] != FIRST.number:  # the store did not answer when it was taken back
            await self._tell_store()
            newest = await asyncio.to_thread(self.rows.current)
        self.newest = newest
        if newest.number == self.revision.number:
            self.problem = ""
        elif newest.number != self._refused[0] or time.monotonic() - self._refused[1] >= _RETRY_SECONDS:
            try:
                ready = await self._started.prepare(self._server, newest)
            except (Error, Failure) as error:
                self._refuse(newest, str(error))
            else:
                self._begin(ready)

    def _refuse(self, revision: Revision, why: str) -> None:
        is_new = self._refused[0] != revision.number
        self._refused = revision.number, time.monotonic()
        self.problem = f"revision {revision.number} of the settings cannot be used here: {why}"
        if is_new:
            now = f"stays at revision {self.revision.number}" if self.revision != FIRST else "is as it was started"
            self._server.records.tell(REFUSED, {"revision": revision.number, "why": why})
            warnings.warn(f"{self.problem}; the server {now}", RuntimeWarning, stacklevel=2)

    async def change(
        self, settings: Mapping[str, Any], expected: int, who: str, why: str, seconds: int, dry_run: bool = False
    ) -> Mapping[str, Setting]:
        """Put these settings, over what the server was started with, in place of the expected revision.

        The server watches for so many `seconds` whether they harm. Returns every key as it is then. Raises Conflict if
        another revision is the newest, and Error or Failure for settings that cannot be; then nothing has changed.
        """
        async with self._changing:
            await self._follow()
            if expected != self.newest.number:
                what = f"are at revision {self.newest.number} now, not {expected}; look at them again"
                raise Conflict("settings", what)
            ready = await self._started.prepare(self._server, replace(FIRST, document=json.dumps(settings)))
            if changes(self.newest.settings, settings) and not dry_run:
                made = await asyncio.to_thread(self.rows.add, settings, expected, who, why, seconds)
                self._begin(replace(ready, revision=made))
            return ready.configuration

    def _begin(self, ready: Ready) -> None:
        """Put a revision in force, and watch it if it is a new one: a later start says nothing of it."""
        before = self._use(ready)
        revision = self.newest = ready.revision
        changed = changes(before.revision.settings, revision.settings)
        told = {key: [shown(value) for value in values] for key, values in changed.items()}
        about = {"revision": revision.number, "before": before.revision.number, "changes": told}
        self._server.records.tell(CHANGED, about | {"who": revision.who, "why": revision.why})
        is_new = now_ms() - revision.created <= 1000 * revision.watch_seconds + _LATE_MS
        if revision.watch_seconds and is_new and revision.number > before.revision.number:
            self._before = before
            self._window = Window(revision.watch_seconds, seen_of(self._server), time.monotonic())

    def _use(self, ready: Ready) -> Ready:
        """Put settings in force, without waiting for anything: no request sees a part of them. Those of before."""
        server = self._server
        before = replace(self._in_force, routing=server.routing, embedder=server.remembering.embedder)
        settings = server.settings = ready.settings
        server.queue.limit(settings.parallel, settings.waiting, settings.waiting_tokens, settings.cache_bytes)
        server.records.keep_receipts(ready.configuration["serve.receipt_hours"].value)
        server.adapters.use(settings)
        server.responses.use(settings)
        server.remembering.use(settings, ready.embedder)
        server.routing = ready.routing
        server.models.use(settings.memory_bytes, ready.governor)
        for entry in self._kept_alive:
            if entry.keep_alive == before.configuration[_KEEP_ALIVE].value:  # no request has said another one
                entry.keep_alive = ready.configuration[_KEEP_ALIVE].value
        self._in_force, self.problem = ready, ""
        self._before = self._window = None
        return before

    async def _watch(self) -> None:
        window, now = self._window, time.monotonic()
        if window is None:
            return
        if fault := window.fault(seen_of(self._server), now):
            async with self._changing:
                if window is self._window and self._before is not None:
                    await self._take_back(self._before, fault)
        elif window.is_over(now):
            self._before = self._window = None

    async def _take_back(self, before: Ready, fault: str) -> None:
        """The server is as before at once; the store is told as soon as it answers."""
        number = self.revision.number
        self._harmful = number, fault
        self._use(before)
        self.newest = before.revision
        self._server.records.tell(ROLLED_BACK, {"revision": number, "to": before.revision.number, "why": fault})
        what = f"revision {number} of the settings is rolled back to {before.revision.number}: {fault}"
        warnings.warn(what, RuntimeWarning, stacklevel=2)
        with suppress(Error):
            await self._tell_store()

    async def _tell_store(self) -> None:
        number, fault = self._harmful
        await asyncio.to_thread(self.rows.roll_back, number, _WHO, fault)

    @property
    def rows(self) -> LiveSettings:
        """The revisions in the store. Raises Unavailable without one; the first time in a thread, as it is read."""
        if self._rows is None:
            if self._server.records.store is None:
                raise Unavailable("settings", "cannot be changed: this server was started without a store")
            self._rows = self._server.records.store.project().live_settings
        return self._rows
