"""Adapters of a server: which one answers a request, and having it in memory.

Each project has its own pointer, in the registry's rows: what is active, and what is a canary. It is read again when it
is older than a second, so a promotion or a rollback needs no restart. An answer keeps the adapter that it began with;
one that nobody points to any more is freed with its last answer.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..engine.adapter import Adapter
from ..errors import Error, InvalidArgument, NotFound
from ..learn import folders
from ..learn.adapters import Registry
from ..learn.canary import CANARY, CONTROL, is_canary
from ..store import Project, StoredAdapter
from .adapter_wishes import Wanted
from .answering import Ask, prepare
from .canaries import Canaries
from .failures import Failure

if TYPE_CHECKING:
    from .models import Models, Served
    from .records import Records
    from .settings import ServeSettings

_FRESH_SECONDS = 1.0  # of a pointer
_RETRY_SECONDS = 5.0  # after an adapter could not be loaded
_IDLE_SECONDS = 10.0  # that one which nobody points to stays
_MOST_PINS = 4096
_ENDED = ("rejected", "rolled_back", "retired")


@dataclass(frozen=True)
class Chosen:
    """What a request gets. `arm`: its side, where a canary is compared; `fault`: why it has no adapter although one is
    active."""

    adapter: Adapter | None = None
    scale: float = 1.0
    arm: str | None = None
    fault: str = ""

    def into(self, ask: Ask) -> Ask:
        """The question with this adapter. What is compared is computed: a stored answer has no outcome of its own."""
        options = {name: value for name, value in ask.options.items() if name != "adapter"}
        if self.adapter is not None:
            options |= {"adapter": self.adapter, "adapter_scale": self.scale}
        return replace(
            ask,
            options=options,
            arm=self.arm,
            adapter_fault=self.fault,
            cacheable=ask.cacheable and self.arm is None,
        )

    @property
    def header(self) -> str:
        """The digest, or none."""
        return "none" if self.adapter is None else self.adapter.fingerprint


@dataclass
class _Pointer:
    """The adapters in use of a project. Times are those of a monotonic clock."""

    rows: list[StoredAdapter]
    read: float
    asked: float

    def of(self, fingerprint: str, state: str) -> StoredAdapter | None:
        """The one of a model in that state."""
        return next((row for row in self.rows if row.fingerprint == fingerprint and row.state == state), None)


class Adapters:
    """For the event loop's thread alone; the registry and the files are read in others."""

    def __init__(self, settings: ServeSettings, models: Models, records: Records) -> None:
        self._models = models
        self._records = records
        self.canaries = Canaries(settings.canary, records)
        self.use(settings)
        self._pointers: dict[str, _Pointer] = {}
        self._reading: dict[str, asyncio.Task[_Pointer]] = {}
        self._loading: dict[tuple[str, str], asyncio.Task[Adapter]] = {}
        self._used: dict[tuple[str, str], float] = {}  # by model and digest
        self._faults: dict[tuple[str, str], tuple[float, Error]] = {}
        self._pins: OrderedDict[tuple[str, str], str | None] = OrderedDict()  # (project, answer) -> digest

    def use(self, settings: ServeSettings) -> None:
        """Go by these settings from now on."""
        self._store = self._records.store if settings.adapters == "active" else None
        self.canaries.how = settings.canary

    async def choose(self, ask: Ask, wanted: Wanted | None) -> Chosen:
        """The adapter of a question. Failure for one that was named and cannot be had: nothing else answers for it."""
        if wanted is not None:
            return await self._named(ask, wanted)
        if isinstance(routed := ask.options.get("adapter"), Adapter):
            return Chosen(routed)
        if self._store is None:
            return Chosen()
        place = (ask.project, ask.id)
        if ask.resumable and (pinned := await self._pinned(ask)) is not None:
            return pinned
        chosen = await self._pointed(ask)
        if ask.resumable:
            self._pins[place] = None if chosen.adapter is None else chosen.adapter.fingerprint
            while len(self._pins) > _MOST_PINS:
                self._pins.popitem(last=False)
        return chosen

    async def rows(self, project: str, served: Served) -> list[StoredAdapter]:
        """All adapters of a project for a model, the oldest first; their places are llama-server's ids."""
        fingerprint = served.model.info.fingerprint
        if self._store is None:
            return []
        rows = await asyncio.to_thread(lambda: self._project(project).adapters.all())
        return [row for row in rows if row.fingerprint == fingerprint]

    async def of_digest(self, served: Served, project: str, digest: str) -> Adapter:
        """The adapter of a receipt: from the project's registry, else this user's folder of it. Raises Error."""
        row = None
        if self._store is not None:
            row = await asyncio.to_thread(lambda: self._project(project).adapters.get(digest))
        if row is not None:
            return await self._loaded(served, digest, row.path)
        if (file := folders.file_of(digest)) is None:
            raise NotFound(f"adapter {digest[:16]}", "is not known here, and the answer was made with it")
        return await self._loaded(served, digest, str(file.parent))

    async def of_route(self, served: Served, project: str, digest: str) -> Adapter:
        """The adapter of a route. Raises Error, also for one that the project's registry has ended."""
        if self._store is not None:
            row = await asyncio.to_thread(lambda: self._project(project).adapters.get(digest))
            if row is not None and row.state in _ENDED:
                raise InvalidArgument(
                    f"adapter {digest[:16]}", f"is {row.state.replace('_', ' ')}; a route needs another"
                )
        return await self.of_digest(served, project, digest)

    async def tidy(self) -> None:
        """Free what nobody uses, and judge canaries; to be called now and then."""
        now = time.monotonic()
        for name in [name for name, each in self._pointers.items() if now - each.asked > _IDLE_SECONDS]:
            del self._pointers[name]
        pointed = {row.digest for pointer in self._pointers.values() for row in pointer.rows}
        for served in self._models:
            for digest in [each for each in served.adapters if each not in pointed]:
                if now - self._used.get((served.name, digest), now) > _IDLE_SECONDS:
                    del served.adapters[digest]  # its running answers have it
                    del self._used[served.name, digest]
                self._used.setdefault((served.name, digest), now)
        await self.canaries.judge(
            [(name, row) for name, pointer in self._pointers.items() for row in pointer.rows if row.state == CANARY]
        )

    async def _pointed(self, ask: Ask) -> Chosen:
        served, fingerprint = ask.served, ask.served.model.info.fingerprint
        try:
            pointer = await self._pointer(ask.project)
        except Error as error:
            self._records.failed(error)
            return Chosen(fault=f"the registry of adapters cannot be read: {error}")
        arm, canary = None, pointer.of(fingerprint, "canary")
        if canary is not None and (adapter := await self._usable(served, canary)) is not None:
            if is_canary(prepare(ask).request_key, canary.digest, canary.share or 0):
                return Chosen(adapter, arm=CANARY)
            arm = CONTROL
        if (active := pointer.of(fingerprint, "active")) is None:
            return Chosen(arm=arm)
        if (adapter := await self._usable(served, active)) is None:
            return Chosen(fault=str(self._faults[served.name, active.digest][1]))
        return Chosen(adapter, arm=arm)

    async def _named(self, ask: Ask, wanted: Wanted) -> Chosen:
        if wanted.name is None and wanted.number is None:
            return Chosen()
        if self._store is None:
            raise Failure(400, "adapter: this server has no registry of adapters (serve.adapters)", param="adapter")
        row = await self._row(ask, wanted)
        if row.state == "rejected":
            raise Failure(400, f"adapter: {row.name!r} was rejected by its gate", param="adapter")
        if row.fingerprint != ask.served.model.info.fingerprint:
            what = f"adapter: {row.name!r} is of another model than {ask.served.name!r}"
            raise Failure(400, what, param="adapter")
        try:
            return Chosen(await self._loaded(ask.served, row.digest, row.path), wanted.scale)
        except Error as error:
            raise Failure(
                503, f"adapter {row.name!r} cannot be loaded: {error}", param="adapter", code="adapter_unusable"
            ) from None

    async def _row(self, ask: Ask, wanted: Wanted) -> StoredAdapter:
        if wanted.number is not None:
            rows = await self.rows(ask.project, ask.served)
            if not 0 <= wanted.number < len(rows):
                raise Failure(400, f"lora: there is no adapter with the id {wanted.number}", param="lora")
            return rows[wanted.number]
        try:
            return await asyncio.to_thread(lambda: Registry(self._project(ask.project), "").find(str(wanted.name)))
        except Error as error:
            failure = Failure.of(error)
            failure.param = "adapter"
            raise failure from None

    async def _pinned(self, ask: Ask) -> Chosen | None:
        """What the answer had when it was asked for before: it shall be the same one. None: it was not."""
        place = (ask.project, ask.id)
        if place not in self._pins:
            row = await asyncio.to_thread(lambda: self._project(ask.project).requests.get(ask.id))
            if row is None:
                return None
            self._pins[place] = row.adapter
        if (digest := self._pins[place]) is None:
            return Chosen()
        try:
            return Chosen(await self.of_digest(ask.served, ask.project, digest))
        except Error as error:
            what = f"the answer began with adapter {digest[:16]}, which cannot be loaded: {error}"
            raise Failure(503, what, code="adapter_unusable") from None

    async def _usable(self, served: Served, row: StoredAdapter) -> Adapter | None:
        """The adapter, or None where it cannot be loaded, which is told."""
        try:
            return await self._loaded(served, row.digest, row.path)
        except Error:
            return None

    async def _loaded(self, served: Served, digest: str, path: str) -> Adapter:
        place = (served.name, digest)
        self._used[place] = time.monotonic()
        if (known := served.adapters.get(digest)) is not None:
            return known
        failed, fault = self._faults.get(place, (0.0, None))
        if fault is not None and time.monotonic() - failed < _RETRY_SECONDS:
            raise fault
        if place not in self._loading:
            self._loading[place] = asyncio.create_task(self._load(served, digest, path))
        return await asyncio.shield(self._loading[place])

    async def _load(self, served: Served, digest: str, path: str) -> Adapter:
        place = (served.name, digest)
        try:
            adapter = await asyncio.to_thread(folders.load, served.model, path, digest)
        except Error as error:
            _, before = self._faults.get(place, (0.0, None))
            self._faults[place] = time.monotonic(), error
            if str(before) != str(error):
                self._records.tell("ADAPTER_UNUSABLE", {"model": served.name, "digest": digest, "why": str(error)})
                warnings.warn(f"adapter {digest[:16]} cannot be used: {error}", RuntimeWarning, stacklevel=2)
            raise
        finally:
            del self._loading[place]
        self._faults.pop(place, None)
        return served.adapters.setdefault(digest, adapter)

    async def _pointer(self, project: str) -> _Pointer:
        now = time.monotonic()
        known = self._pointers.get(project)
        if known is not None and now - known.read < _FRESH_SECONDS:
            known.asked = now
            return known
        if project not in self._reading:
            self._reading[project] = asyncio.create_task(self._read(project))
        try:
            return await asyncio.shield(self._reading[project])
        except Error as error:
            if known is None:
                raise
            self._records.failed(error)
            known.read = known.asked = now  # the database is asked no more than once a second
            return known

    async def _read(self, project: str) -> _Pointer:
        now, before = time.monotonic(), self._pointers.get(project)
        try:
            rows = await asyncio.to_thread(lambda: self._project(project).adapters.in_use())
        finally:
            del self._reading[project]
        pointer = self._pointers[project] = _Pointer(rows, now, now)
        told = [] if before is None else [(row.digest, row.state) for row in before.rows]
        if [(row.digest, row.state) for row in rows] != told:
            in_use = [{"model": row.fingerprint, "digest": row.digest, "state": row.state} for row in rows]
            self._records.tell("ADAPTER_IN_USE", {"project": project, "adapters": in_use})
        return pointer

    def _project(self, name: str) -> Project:
        assert self._records.store is not None
        return self._records.store.project(name)
