"""The models that a server answers with, by name: loaded when asked for, unloaded when memory or time is up."""

from __future__ import annotations

import asyncio
import math
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..engine.adapter import Adapter
from ..engine.chat_format import ChatFormat
from ..engine.model import Model
from ..errors import Error, InvalidArgument
from .failures import Failure

Governor = Mapping[str, tuple[object, object]]  # by key: what servers were started with, and what it is now

_POLL_SECONDS = 0.05
_RELEASE_SECONDS = 60.0  # that answers of a model which shall go may still take


@dataclass(eq=False)
class Served:
    """A loaded model under the name that requests give. `used`: when it last was (time.monotonic)."""

    name: str
    model: Model
    n_running: int = 0
    used: float = field(default_factory=time.monotonic)
    compiling: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)  # of constraints
    adapters: dict[str, Adapter] = field(default_factory=dict, repr=False)  # those that were loaded, by digest

    @cached_property
    def _own_governor(self) -> Mapping[str, object]:
        return self.model.governor

    def governed(self, changes: Governor) -> dict[str, object]:
        """Governor settings after changes. What the model has for itself alone stays."""
        own = self._own_governor
        return {**own, **{key: now for key, (before, now) in changes.items() if own.get(key, before) == before}}

    def govern(self, changes: Governor) -> None:
        """Have answers that begin from now on governed so. What does not go with the model's own is told."""
        try:
            self.model.govern(self.governed(changes))
        except InvalidArgument as error:
            what = f"model {self.name!r} keeps the limits that it has: {error}"
            warnings.warn(what, RuntimeWarning, stacklevel=2)

    @cached_property
    def context(self) -> int:
        """Tokens that a prompt and its answer may have."""
        return self.model.session().context

    @cached_property
    def cache_type(self) -> str:
        """Type of the cached keys and values."""
        return self.model.session().cache_type

    @cached_property
    def cache_bytes_per_token(self) -> float:
        """Of keys and values, about."""
        return self.model.info.cache_bytes(self.context, self.cache_type) / self.context

    @cached_property
    def end_tokens(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return tuple(token for token in range(self.model.info.n_vocab) if self.model.is_end(token))

    @cached_property
    def uses_thinking(self) -> bool:
        """Whether the model's template says that it thinks before it answers."""
        source = self.model.info.chat_template
        return "enable_thinking" in source or "<think>" in source or "reasoning_effort" in source

    @cached_property
    def chat(self) -> ChatFormat:
        """The model's own chat template; Failure 400 if the file has none."""
        try:
            return self.model.chat_format()
        except InvalidArgument as error:
            raise Failure(400, f"model {self.name!r} cannot chat: {error}", param="model") from None


@dataclass(eq=False)
class Entry:
    """A model that can be asked for.

    load        opens it: takes a while, and runs in a thread
    n_bytes     of the file: about the memory that its weights take
    keep_alive  seconds without a request after which it is unloaded; infinite: never
    """

    name: str
    path: Path
    load: Callable[[], Model] = field(repr=False)
    aliases: tuple[str, ...] = ()
    keep_alive: float = math.inf
    served: Served | None = None
    loading: asyncio.Task[Served] | None = field(default=None, repr=False)

    @cached_property
    def n_bytes(self) -> int:
        """Of the file, or its first part."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    @cached_property
    def modified(self) -> float:
        """When the file was written last."""
        with suppress(OSError):
            return self.path.stat().st_mtime
        return 0.0


def file_name(path: str) -> str:
    """A model's name from its file's: without folder, ending and number of a split part."""
    stem = Path(path).name.removesuffix(".gguf")
    head, split, tail = stem.rpartition("-of-")
    return head.rpartition("-")[0] if split and tail.isdigit() else stem


def files_in(folder: Path) -> list[Path]:
    """The GGUF files of a folder, of split ones the first part, in the order of their names."""
    try:
        found = sorted(folder.glob("*.gguf"))
    except OSError as error:
        raise InvalidArgument("serve.models", f"{folder} cannot be read: {error.strerror or error}") from None
    if not folder.is_dir():
        raise InvalidArgument("serve.models", f"{folder} is no folder")
    return [path for path in found if "-of-" not in path.stem or "-00001-of-" in path.stem]


def _standing(entry: Entry) -> tuple[float, ...]:
    """In which order models go: the loaded ones, those without answers and those that may go first, the least used."""
    served = entry.served
    if served is None:
        return (True,)
    return False, served.n_running > 0, math.isinf(entry.keep_alive), served.used


class Models:
    """All models of a server, for the event loop's thread alone. The first one answers requests that name none.

    `memory_bytes`: what loaded models may have together; one that was not used for the longest time makes room.
    `governor`: keys that were changed since the start, for models that are loaded later.
    """

    def __init__(self, entries: Iterable[Entry], memory_bytes: float = math.inf) -> None:
        self.memory_bytes = memory_bytes
        self.governor: Governor = {}
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, Entry] = {}
        self._changing = asyncio.Lock()  # one load at a time: two could be too many for the memory
        for entry in entries:
            self._add(entry)
        if not self._entries:
            raise InvalidArgument(
                "model", "there is none to serve: name a GGUF file, or a folder of them (serve.models)"
            )

    def _add(self, entry: Entry) -> None:
        for name in (entry.name, *entry.aliases):
            if name in self._names:
                raise InvalidArgument("model", f"{name!r} is served twice; give another name: NAME=FILE")
            self._names[name] = entry
        self._entries[entry.name] = entry

    def __iter__(self) -> Iterator[Served]:
        """The loaded ones."""
        return (entry.served for entry in list(self._entries.values()) if entry.served is not None)

    @property
    def entries(self) -> list[Entry]:
        """All that can be asked for."""
        return list(self._entries.values())

    @property
    def is_loading(self) -> bool:
        """Whether one is being loaded."""
        return any(entry.loading is not None for entry in self._entries.values())

    def find(self, name: str | None) -> Entry:
        """The entry of a name; Failure 404."""
        if not name:
            return next(iter(self._entries.values()))
        if (found := self._names.get(name) or self._names.get(name.removesuffix(":latest"))) is None:
            known = ", ".join(self._entries)
            raise Failure(
                404, f"model {name!r} is not served; there are: {known}", param="model", code="model_not_found"
            )
        return found

    async def get(self, name: str | None) -> Served:
        """The model of that name, loaded. Whoever asks meanwhile waits for the same load; leaving does not stop it."""
        entry = self.find(name)
        if entry.served is None:
            if entry.loading is None:
                entry.loading = asyncio.create_task(self._load(entry))
            return await asyncio.shield(entry.loading)
        entry.served.used = time.monotonic()
        return entry.served

    async def _load(self, entry: Entry) -> Served:
        try:
            async with self._changing:
                await self._make_room(entry)
                model = await asyncio.to_thread(entry.load)
            served = Served(entry.name, model)
            if self.governor:
                served.govern(self.governor)
            entry.served = served
            return served
        except Error as error:
            raise Failure.of(error) from None
        finally:
            entry.loading = None

    async def _make_room(self, entry: Entry) -> None:
        if entry.n_bytes > self.memory_bytes:
            what = (
                f"model {entry.name!r} needs {entry.n_bytes >> 20} MiB, models may have {int(self.memory_bytes) >> 20}"
            )
            raise Failure(400, f"{what} (serve.memory_mb)", param="model", code="out_of_memory")
        while self._loaded_bytes() + entry.n_bytes > self.memory_bytes:
            await self.unload(min(self.entries, key=_standing).name)

    def _loaded_bytes(self) -> int:
        return sum(entry.n_bytes for entry in self._entries.values() if entry.served is not None)

    def keep(self, name: str | None, seconds: float | None) -> None:
        """How long a model stays without a request; below 0: forever. Models that stay anyway are left as they are."""
        entry = self.find(name)
        if seconds is not None and not math.isinf(entry.keep_alive):
            entry.keep_alive = seconds if seconds >= 0 else math.inf

    def use(self, memory_bytes: float, governor: Governor) -> None:
        """Go by these from now on; what is loaded beyond the memory goes when it is idle."""
        self.memory_bytes = memory_bytes
        if governor != self.governor:
            self.governor = governor
            for served in self:
                served.govern(governor)

    async def unload(self, name: str) -> None:
        """Let a model go, and wait until its running answers have: nobody's answer ends for it."""
        entry = self.find(name)
        served, entry.served = entry.served, None
        if served is None:
            return
        gone = weakref.ref(served.model)
        del served
        end = time.monotonic() + _RELEASE_SECONDS
        while gone() is not None and time.monotonic() < end:
            await asyncio.sleep(_POLL_SECONDS)

    async def unload_idle(self) -> None:
        """Let go what was not used for longer than its keep_alive, or exceeds the memory; to be called now and then."""
        now = time.monotonic()
        for entry in sorted(self.entries, key=_standing):
            served, most = entry.served, entry.keep_alive
            if self._loaded_bytes() > self.memory_bytes and not math.isinf(most):  # it may have less than before
                most = 0.0
            if served is not None and not served.n_running and now - served.used > most:
                del served
                async with self._changing:
                    await self.unload(entry.name)
