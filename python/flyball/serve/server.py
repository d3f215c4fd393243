"""A server: its models, its queue, what it remembers; and its life from the first request to the last."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import math
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from .. import __version__
from ..engine.model import isas
from ..errors import FileError
from . import http
from .adapters import Adapters
from .batch_worker import BatchWorker
from .failures import Failure
from .flights import Flights
from .guarding import Guarding
from .live import Live
from .models import Models, Served
from .observing import Observer
from .partials import Partials
from .plugins import Plugins
from .queue import Queue
from .quotas import Quotas
from .records import Records
from .remembering import Remembering
from .responses import Responses
from .routing import Routing
from .settings import ServeSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from ..config.configuration import Setting
    from .exposition import Exposition

_SEND_BYTES = 128 << 10
_CUT_SECONDS = 5.0  # that streams have for their last event
_POLL_SECONDS = 0.02
_SWITCH_SECONDS = 0.0005  # that a thread may keep Python from the event loop; Python's own 0.005 are a token's time
_GC_OBJECTS = 10_000  # new ones between two collections; Python's own 700 are a request's
_HOUSEKEEPING_SECONDS = 0.1
_PURGE_SECONDS = 600.0


class Server:
    """What all requests share: for the event loop's thread alone."""

    def __init__(
        self,
        settings: ServeSettings,
        models: Models,
        records: Records | None = None,
        partials: Path | None = None,
        configuration: Mapping[str, Setting] | None = None,
    ) -> None:
        """`partials`: the file of unfinished answers that clients may ask for again; None: in memory only.

        `configuration`: every key as the server was started with; None: the defaults.
        """
        self.settings = settings
        self.models = models
        self.queue = Queue(settings.parallel, settings.waiting, settings.waiting_tokens, settings.cache_bytes)
        self.records = Records() if records is None else records  # an empty one is false
        self.quotas = Quotas(self.records.store)
        self.adapters = Adapters(settings, models, self.records)
        self.plugins = Plugins(self.records, settings.dev_plugins)
        self.observe = Observer()
        self.exposition: Exposition | None = None  # made for the first reader of metrics
        self.side_work = asyncio.Semaphore(1)  # scores, embeddings and verifications, which no batch computes
        self.routing: Routing | None = None  # where there is a registry of routes
        self.responses = Responses.of(self, settings)
        self.remembering = Remembering(settings)
        self.guarding = Guarding(self)
        self.flights = Flights(self)
        self.partials = Partials(partials)
        self.batches = BatchWorker(self)
        self.live = Live(self, configuration)
        self.draining = False
        self._secret = os.urandom(32)

    @property
    def state(self) -> str:
        """ready, loading (the first model) or draining."""
        if self.draining:
            return "draining"
        return "loading" if self.models.is_loading and not any(self.models) else "ready"

    @property
    def isa(self) -> str:
        """The instruction set that answers; before a model is loaded, the one it would choose."""
        return next((served.model.info.isa for served in self.models), isas()[0])

    def refuse_if_draining(self) -> None:
        """Raise Failure 503 once the server ends."""
        if self.draining:
            raise self.ending()

    @staticmethod
    def ending() -> Failure:
        """What requests get once the server ends."""
        return Failure(503, "the server is ending; ask another", code="draining", headers={"retry-after": "5"})

    def prefix_root(self, project: str) -> bytes:
        """Whose cached prompts a project's answers may use: its own alone, for a hit can be told by its speed."""
        return hmac.digest(self._secret, project.encode(errors="replace"), "sha256")[:16]

    def cut(self) -> None:
        """End all answers now, each with an error."""
        self.draining = True
        self.queue.refuse_all(self.ending())
        for flight in self.flights.flying:
            flight.cut()

    def stalled(self) -> str | None:
        """The model that has made no step for too long although answers run, or None."""
        return next((name for name, age in self.step_ages() if age > self.settings.stall_seconds), None)

    def step_ages(self) -> Iterator[tuple[str, float]]:
        """For each model how long its running step has taken so far, in seconds; 0: nothing runs."""
        now = time.monotonic()
        for served in self.models:
            since = served.model.working_since
            yield served.name, 0.0 if since is None else max(0.0, now - since)

    def system_fingerprint(self, served: Served, adapter: str | None = None) -> str:
        """Names build, model, settings and adapter: two answers to one question differ only where this does."""
        text = f"{served.model.info.fingerprint} {served.context} {served.cache_type}"
        text += f" {adapter}" if adapter else ""
        return f"b{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; FileError if the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: the system would keep megabytes for each client that does not read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        sock.bind(address)
        sock.listen(2048)
    except OSError as error:
        what = f"cannot be listened on: {error.strerror or error}; --port chooses another port, 0 a free one"
        raise FileError(f"{host}:{port}", what) from None
    return sock


async def run(server: Server, sock: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT: then finish what runs, for at most drain_seconds."""
    _spare_python()
    drained = asyncio.Event()

    def on_signal() -> None:
        if server.draining:
            server.cut()
            drained.set()
        server.draining = True
        asking_to_end.set()

    asking_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        async with working(server) as app:
            web = http.web(app, server.settings.keep_alive_seconds)
            ending = asyncio.ensure_future(_end(server, web, asking_to_end, drained))
            try:
                serving = asyncio.ensure_future(web.serve([sock]))
                on_ready()
                await serving
            finally:
                ending.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def working(server: Server) -> AsyncIterator[Starlette]:
    """The server's application, and beside it all that the server does without being asked."""
    from .app import create_app

    await server.live.follow()  # before the first request
    app = create_app(server)
    works = (
        *(_keep_house(server), server.batches.run(app), server.responses.run(), server.plugins.run()),
        server.live.run(),
    )
    beside = [asyncio.ensure_future(work) for work in works]
    try:
        yield app
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)  # batches give back what they have not answered


def _spare_python() -> None:
    """Settings of the interpreter for a process that answers many small requests from one thread beside others."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays, so that no collection need look at it
    gc.set_threshold(_GC_OBJECTS)


async def _end(server: Server, web: uvicorn.Server, asked: asyncio.Event, drained: asyncio.Event) -> None:
    """Once asked to, wait for running answers, cut those that take too long, and end the web server."""
    await asked.wait()
    waiting = asyncio.ensure_future(_until_idle(server, drained))
    done, _ = await asyncio.wait((waiting,), timeout=server.settings.drain_seconds)
    if not done:
        server.cut()
        await asyncio.wait((waiting,), timeout=_CUT_SECONDS)
    waiting.cancel()
    web.should_exit = True
    await asyncio.sleep(_CUT_SECONDS)  # for last events on their way to slow readers
    web.force_exit = True


async def _keep_house(server: Server) -> None:
    purged = -math.inf
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        server.partials.flush()
        if time.monotonic() - purged > _PURGE_SECONDS:
            purged = time.monotonic()
            server.records.purge()
            server.responses.tidy()
        await server.models.unload_idle()
        await server.adapters.tidy()
        if server.routing is not None:
            server.routing.look()


async def _until_idle(server: Server, drained: asyncio.Event) -> None:
    while (server.queue.n_running or server.queue.n_waiting or server.batches.n_running) and not drained.is_set():
        await asyncio.sleep(_POLL_SECONDS)
