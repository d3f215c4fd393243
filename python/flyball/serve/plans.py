"""The registry of routes that a server uses: read again when it changes, learned with each project's corrections."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Error, FormatError
from ..learn.folders import file_of
from ..route.intents import Intents
from ..route.registry import Registry, load
from ..store.store import DEFAULT_PROJECT
from .failures import Failure

if TYPE_CHECKING:
    from .adapters import Adapters
    from .models import Models
    from .records import Records

_LOOK_SECONDS = 1.0  # between two looks at the registry's files
_Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Plan:
    """A registry and what was learned from it: replaced as a whole."""

    registry: Registry
    intents: Intents
    stamps: _Stamps

    @property
    def modified(self) -> float:
        """When the registry was written, in seconds since 1970."""
        stamp = self.stamps[0]
        return stamp[1] / 1e9 if stamp is not None else 0.0


class Plans:
    """For the event loop's thread alone; what takes a while is done in others."""

    def __init__(self, path: Path, models: Models, records: Records, adapters: Adapters) -> None:
        self._path = path
        self._models = models
        self._records = records
        self._adapters = adapters
        self._plan: Plan | None = None
        self._refused: object = None  # the stamps of a registry that cannot be used
        self._reading: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._of_projects: dict[str, tuple[object, Intents]] = {}
        self._learning = asyncio.Lock()

    @property
    def current(self) -> Plan:
        """The one in use."""
        assert self._plan is not None, "start() comes first"
        return self._plan

    async def start(self) -> None:
        """Read the registry. Raises Error for one that cannot be used."""
        self._plan = await self._read()

    def look(self) -> None:
        """Have the registry read again if its files have changed; the old one goes on meanwhile."""
        if time.monotonic() - self._looked < _LOOK_SECONDS or (self._reading and not self._reading.done()):
            return
        self._looked = time.monotonic()
        stamps = _stamps(self.current.registry.watched)
        if stamps not in (self.current.stamps, self._refused):
            self._reading = asyncio.create_task(self._replace(stamps))

    async def _replace(self, stamps: object) -> None:
        """One that cannot be used is told, and the old one stays."""
        try:
            self._plan, self._refused = await self._read(), None
            self._of_projects.clear()
        except (Error, Failure) as error:
            self._refused = stamps
            self._records.tell("ROUTE_REGISTRY_REFUSED", {"message": str(error)})
            warnings.warn(f"routes stay as they were: {error}", RuntimeWarning, stacklevel=2)

    async def _read(self) -> Plan:
        registry = await asyncio.to_thread(load, self._path)
        stamps = _stamps(registry.watched)
        registry.check([name for entry in self._models.entries for name in (entry.name, *entry.aliases)], _is_there)
        for intent in registry.intents.values():
            for model in intent.models if intent.adapter else ():
                await self._check_adapter(registry, intent.name, model, intent.adapter)
        judge = (await self._models.get(registry.judge)).model if registry.judge else None
        intents = await asyncio.to_thread(Intents.learn, registry, (), judge)
        floors = {name: floor.as_dict() for name, floor in intents.floors.of.items()}
        self._records.tell(
            "ROUTE_REGISTRY_LOADED",
            {"registry": registry.digest, "floors": floors, "together": intents.floors.together.as_dict()},
        )
        return Plan(registry, intents, stamps)

    async def _check_adapter(self, registry: Registry, intent: str, model: str, digest: str) -> None:
        """Load it where its model is loaded; otherwise that is done with the model."""
        if (served := self._models.find(model).served) is None:
            return
        try:
            await self._adapters.of_route(served, DEFAULT_PROJECT, digest)
        except Error as error:
            line = registry.places.line("intents", intent, "adapter")
            raise FormatError(f"{registry.path}:{line}", f"adapter of model {model!r}: {error}") from None

    async def intents_of(self, project: str) -> Intents:
        """What texts want, with the corrections of a project, which no other one sees."""
        plan, store = self.current, self._records.store
        if store is None:
            return plan.intents
        corrections = store.project(project).route_corrections
        version = await asyncio.to_thread(corrections.version)
        if (found := self._learned(project, version)) is not None:
            return found
        async with self._learning:  # once for all requests that wait for it
            if (found := self._learned(project, version)) is not None:
                return found
            said = [(each.text, each.intent) for each in await asyncio.to_thread(corrections.all)]
            judge = (await self._models.get(plan.registry.judge)).model if plan.registry.judge else None
            intents = await asyncio.to_thread(Intents.learn, plan.registry, said, judge)
            if self.current is plan:
                self._of_projects[project] = version, intents
        return intents

    def _learned(self, project: str, version: object) -> Intents | None:
        known, intents = self._of_projects.get(project, ((0, 0), self.current.intents))
        return intents if known == version else None


def _stamps(paths: Sequence[Path]) -> _Stamps:
    """Which files are there, to be compared with a later look."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_there(_model: str, digest: str) -> bool:
    return file_of(digest) is not None
