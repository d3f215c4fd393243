"""The processes of plugins: kept between calls, one for each project and plugin, ended when idle or when they fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Unavailable
from .process import Allowed, PluginError, PluginTold, Process
from .walls import Wall, best

MOST_FAILURES = 3  # in a row
_MOST_PROCESSES = 8
_MOST_WAITING = 16  # calls of one plugin
_IDLE_SECONDS = 60.0
_LIFE_SECONDS = 300.0  # of calls, after which a process is replaced


@dataclass
class _Place:
    """A plugin of a project. `since`: of the permission that its failures are counted for."""

    since: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    process: Process | None = None
    used: float = field(default_factory=time.monotonic)
    n_waiting: int = 0
    n_failures: int = 0

    async def end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            await process.end()


class Pool:
    """For one event loop. No project's process ever answers another's call."""

    def __init__(
        self,
        on_failed: Callable[[str, Allowed, PluginError, int], None] = lambda *_: None,
        wall: Wall | None = None,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        """`on_failed` is told of each failure: the project, the plugin, the error, and the how manieth in a row."""
        self._on_failed = on_failed
        self._wall = wall
        self._idle_seconds = idle_seconds
        self._places: dict[tuple[str, str], _Place] = {}

    async def call(
        self, project: str, allowed: Allowed, kind: str, value: object, schema: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a plugin of a project. Raises PluginTold, PluginError (it has failed, and its process is ended), or
        Unavailable (it is in quarantine, or too many wait for it)."""
        place = self._place(project, allowed)
        if place.n_waiting >= _MOST_WAITING:
            raise Unavailable(f"plugin {allowed.name}", f"has {_MOST_WAITING} calls waiting; try again later")
        place.n_waiting += 1
        try:
            async with place.lock:
                if place.n_failures >= MOST_FAILURES:
                    raise quarantined(allowed.name)
                return await self._call(project, place, allowed, kind, value, schema)
        finally:
            place.n_waiting -= 1
            place.used = time.monotonic()

    async def _call(
        self,
        project: str,
        place: _Place,
        allowed: Allowed,
        kind: str,
        value: object,
        schema: Mapping[str, Any] | None,
    ) -> Any:
        try:
            process = await self._process(place, allowed)
            result = await process.call(kind, value, schema)
        except PluginTold:
            place.n_failures = 0
            raise
        except PluginError as error:
            place.n_failures += 1
            await place.end()
            self._on_failed(project, allowed, error, place.n_failures)
            raise
        except BaseException:  # whoever asked is gone: its answer may not reach the next call
            await asyncio.shield(place.end())
            raise
        place.n_failures = 0
        return result

    async def _process(self, place: _Place, allowed: Allowed) -> Process:
        process = place.process
        if process is not None and (process.allowed != allowed or process.used_seconds > _LIFE_SECONDS):
            await place.end()
        if place.process is None:
            await self._make_room()
            if self._wall is None:
                self._wall = await asyncio.to_thread(best)
            place.process = await Process.start(allowed, self._wall)
        return place.process

    async def _make_room(self) -> None:
        """For whoever asks, whose place is locked as those of all that have a process at work, or will."""
        busy = [place for place in self._places.values() if place.lock.locked()]
        idle = [place for place in self._places.values() if place.process is not None and not place.lock.locked()]
        n_over = max(0, len(busy) + len(idle) - _MOST_PROCESSES)
        if n_over > len(idle):
            raise Unavailable("plugins", f"{_MOST_PROCESSES} are being called; try again later")
        for place in sorted(idle, key=lambda place: place.used)[:n_over]:
            await place.end()

    def _place(self, project: str, allowed: Allowed) -> _Place:
        place = self._places.setdefault((project, allowed.name), _Place(allowed.since))
        if place.since != allowed.since:
            place.since, place.n_failures = allowed.since, 0
        return place

    async def tidy(self) -> None:
        """End the processes that nobody has called for a while."""
        now = time.monotonic()
        for key, place in list(self._places.items()):
            if place.n_waiting or now - place.used <= self._idle_seconds:
                continue
            if not place.n_failures:
                del self._places[key]
            await place.end()

    async def close(self) -> None:
        """End all processes."""
        await asyncio.gather(*(place.end() for place in self._places.values()))


def quarantined(name: str) -> Unavailable:
    """What calls of a plugin in quarantine get."""
    what = f"is in quarantine after {MOST_FAILURES} failures in a row; flyball plugins allow {name} lets it try again"
    return Unavailable(f"plugin {name}", what)
