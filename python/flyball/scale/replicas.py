"""The replicas: which of them get requests, and why others do not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import aiohttp

from .choosing import chosen
from .settings import EdgeSettings
from .telling import Telling

_LOOK_SECONDS = 2.0  # that a replica has to say how it is
_FOLLOW_SECONDS = 5.0  # that replicas may take to follow a change of settings
_LOST_AFTER = 3  # looks in a row without an answer
_MOST_TRIED = 64

T = TypeVar("T")
State = Literal["unknown", "ready", "lost", "differs", "out"]
Known = Mapping[str, Any]


class Lost(Exception):
    """The replica is gone, as looks at it have found out."""


class Doing:
    """A request that a replica has."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_lost = False

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, no longer than the replica is there; Lost."""
        if self._is_lost:
            work.close()
            raise Lost
        self._task = task = asyncio.current_task()
        assert task is not None
        try:
            return await work
        except asyncio.CancelledError:
            if self._is_lost and not task.uncancel():
                raise Lost from None
            raise
        finally:
            self._task = None

    def lost(self) -> None:
        """The replica is gone: whoever waits for it gets Lost."""
        if not self._is_lost and self._task is not None:  # once: wait() takes back one cancellation
            self._task.cancel()
        self._is_lost = True


@dataclass(eq=False)
class Replica:
    """A server that computes.

    state     unknown: not looked at, or not tried; ready: it gets requests; lost: it does not answer, or takes none;
              differs: it would give other answers; out: it gave an answer that others do not give
    said      what it says of itself (serve/apis/replica.py)
    tried     instances that gave the others' answers: several where the address is a balancer's
    doing     requests of this edge
    """

    url: str
    state: State = "unknown"
    why: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    following: float = 0.0  # since when its settings differ, as it or others follow a change of them; 0: they do not
    n_missed: int = 0  # looks, one after the other
    doing: set[Doing] = field(default_factory=set, repr=False)

    @property
    def instance(self) -> str:
        """Another one after each start."""
        return str(self.said.get("instance", ""))

    def as_dict(self) -> dict[str, Any]:
        """For people and programs that look after the replicas."""
        told = {
            name: self.said.get(name) for name in ("instance", "machine", "version", "running", "waiting", "models")
        }
        return {"url": self.url, "state": self.state, "why": self.why, "requests": len(self.doing), **told}

    @contextmanager
    def at_work(self) -> Iterator[Doing]:
        """While it has a request."""
        doing = Doing()
        self.doing.add(doing)
        try:
            yield doing
        finally:
            self.doing.discard(doing)

    @property
    def models(self) -> dict[str, Known]:
        """Its loaded models."""
        return {name: known for name, known in self.said.get("models", {}).items() if known is not None}


class Replicas:
    """All replicas of an edge, for the event loop's thread alone."""

    def __init__(self, settings: EdgeSettings, session: aiohttp.ClientSession, telling: Telling) -> None:
        self._settings = settings
        self._session = session
        self._telling = telling
        self._replicas = {url: Replica(url) for url in settings.replicas}
        self._models: dict[str, Known] = {}  # what all must serve, as the first ones did
        self._changed = asyncio.Event()
        self._looking: dict[Replica, asyncio.Future[None]] = {}
        self.admit: Callable[[Replica], Awaitable[str]] = _anyone  # why a replica may not get requests; "": it may

    @property
    def all(self) -> list[Replica]:
        """Of any state."""
        return list(self._replicas.values())

    @property
    def ready(self) -> list[Replica]:
        """Those that get requests."""
        return [replica for replica in self._replicas.values() if replica.state == "ready"]

    def choose(self, key: bytes, but: Collection[Replica] = ()) -> Replica | None:
        """The ready replica for a request; None: there is none but those that `but` names."""
        return chosen(key, [replica for replica in self.ready if replica not in but])

    async def one(self, key: bytes, but: Collection[Replica], seconds: float) -> Replica | None:
        """A ready replica, one that is not among `but` if there is one; waits for it so many seconds."""
        end = time.monotonic() + seconds
        while True:
            if (found := self.choose(key, but) or self.choose(key)) is not None:
                return found
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.0, end - time.monotonic()))
                continue
            return None

    async def run(self) -> None:
        """Look at all replicas, again and again; one that takes its time keeps nobody from the others."""
        try:
            while True:
                if self._settings.dns:
                    await self._resolve()
                for replica in self.all:
                    self.look(replica)
                await asyncio.sleep(self._settings.look)
        finally:
            for looking in self._looking.values():
                looking.cancel()

    def look(self, replica: Replica) -> None:
        """Ask a replica how it is, and judge it; unless that is being done."""
        if replica not in self._looking:
            looking = self._looking[replica] = asyncio.ensure_future(self._look(replica))
            looking.add_done_callback(lambda _: self._looking.pop(replica))

    async def _look(self, replica: Replica) -> None:
        try:
            said = await self._ask(replica)
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            replica.n_missed += 1
            # A busy machine answers late: only who refuses, or is late repeatedly, is lost.
            if isinstance(error, aiohttp.ClientConnectorError) or replica.n_missed >= _LOST_AFTER:
                self.lost(replica, _words(error))
            return
        replica.n_missed = 0
        was, replica.said = replica.instance, said
        if replica.state == "out" and was == replica.instance:
            return  # it says that it is well, and is not believed
        if said.get("state") != "ready":  # it may end what it has begun, or says itself that another shall
            self._set(replica, "lost", f"it is {said.get('state')}", cut=said.get("state") == "stalled")
        elif different := self._difference(replica):
            self._set(replica, "differs", different)
        elif replica.state != "ready" or replica.instance not in replica.tried:
            await self._try(replica)

    async def _ask(self, replica: Replica) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_LOOK_SECONDS)
        async with self._session.get(f"{replica.url}/v1/replica", headers=self.headers, timeout=timeout) as response:
            if response.status != 200:
                raise ValueError(f"GET /v1/replica gives {response.status}")
            said = await response.json()
        if not isinstance(said, dict) or not isinstance(said.get("models"), dict):
            raise ValueError("GET /v1/replica gives what no replica says")
        return said

    @property
    def headers(self) -> dict[str, str]:
        """With which the edge itself asks replicas."""
        return {"authorization": f"Bearer {self._settings.key}"} if self._settings.key else {}

    def _difference(self, replica: Replica) -> str:
        """Why a replica may not stand beside those that get requests; "": it may, for all that it says."""
        if not self._settings.is_local and not replica.said.get("needs_key"):
            return "it needs no API key, but the edge can be reached by others"
        for name, known in self._models.items():
            if name not in replica.said["models"]:
                return f"it does not serve model {name!r}"
            mine = replica.models.get(name)
            if mine is not None and mine != known:
                parts = [part for part in known if known[part] != mine.get(part)]
                return f"{', '.join(parts)} of model {name!r} differ"
        others = [each for each in self.ready if each is not replica]
        if not others or others[0].said["settings"] == replica.said["settings"]:
            replica.following = 0.0
        elif not _is_following(replica, others[0]):
            return "its settings for answers differ"
        return ""

    async def _try(self, replica: Replica) -> None:
        """Another version may give the same bits: whether it does is tried, not believed."""
        if why := await self.admit(replica):
            self._set(replica, "out", why)
            return
        if not self.ready:  # the first one says what all shall serve
            self._models = dict(replica.models)
        else:
            self._models = {**replica.models, **self._models}
        replica.tried = {*list(replica.tried)[-_MOST_TRIED:], replica.instance}
        self._set(replica, "ready", "")

    def add(self, url: str) -> None:
        """One more, which gets requests once it has shown that it gives the others' answers."""
        self._replicas[url] = Replica(url)

    def lost(self, replica: Replica, why: str) -> None:
        """It does not answer: what it was doing goes on elsewhere."""
        self._set(replica, "lost", why)

    def out(self, replica: Replica, why: str) -> None:
        """It gives what others do not: it gets nothing more until it was started again."""
        self._set(replica, "out", why)

    def _set(self, replica: Replica, state: State, why: str, cut: bool = True) -> None:
        before, replica.state, replica.why = replica.state, state, why
        if state != "ready" and cut:
            for doing in list(replica.doing):
                doing.lost()
        if before != state:
            self._changed.set()
            self._telling.replica(replica.url, str(replica.said.get("machine", "")), state, why)

    async def _resolve(self) -> None:
        """The replicas that a name has now; those that it has no more are forgotten."""
        host, _, port = self._settings.dns.rpartition(":")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError:
            return  # a name server that fails takes nobody's replicas
        urls = {_url(address[4][0], port) for address in found} | set(self._settings.replicas)
        for url in urls - set(self._replicas):
            self.add(url)
        for url in set(self._replicas) - urls:
            self._set(self._replicas.pop(url), "lost", "its address is gone")


def _is_following(replica: Replica, other: Replica) -> bool:
    """Whether they only go by two revisions of live settings: the lower one may follow for a moment."""
    mine, theirs = replica.said.get("revision"), other.said.get("revision")
    if mine is None or theirs is None or mine == theirs:
        return False
    replica.following = replica.following or time.monotonic()
    return bool(mine > theirs) or time.monotonic() - replica.following < _FOLLOW_SECONDS


async def _anyone(replica: Replica) -> str:
    return ""


def _url(host: str | int, port: str) -> str:
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
