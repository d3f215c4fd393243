"""Servers as actors of Ray Serve, which starts them, looks at their health, and takes the place of those that die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import ray
from ray import serve as ray_serve
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from ..serve.server import Server, working
from ..serve.settings import ServeSettings

Open = Callable[[str], AbstractAsyncContextManager[Server]]

_HEALTH_SECONDS = 2.0
_NAME = "flyball"


class Replica:
    """A server in an actor. Its models are loaded before it gets requests."""

    def __init__(self, open_server: Open) -> None:
        self._open = open_server
        self._server: Server | None = None
        self._app: ASGIApp | None = None
        self._outer = Starlette(lifespan=self._lifespan)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # a method would count as ASGI 2
            app = self._outer if scope["type"] == "lifespan" else self._app
            assert app is not None
            await app(scope, receive, send)

        return answer

    def check_health(self) -> None:
        """Raises if a step takes too long: Ray ends the actor and starts another one."""
        if self._server is not None and (name := self._server.stalled()) is not None:
            raise RuntimeError(f"model {name!r} makes no step")

    @asynccontextmanager
    async def _lifespan(self, outer: Starlette) -> AsyncIterator[None]:
        rank = ray_serve.get_replica_context().rank
        async with self._open(f"ray-{getattr(rank, 'rank', rank)}") as server, working(server) as self._app:
            self._server = server
            yield
            server.draining = True


def application(open_server: Open, settings: ServeSettings, n: int) -> Any:
    """N replicas as an application of Ray Serve. What does not fit waits in the server's own queue, not in Ray's."""
    deployment = ray_serve.deployment(
        name=_NAME,
        num_replicas=n,
        max_ongoing_requests=settings.parallel + settings.waiting,
        health_check_period_s=_HEALTH_SECONDS,
        health_check_timeout_s=max(_HEALTH_SECONDS, settings.stall_seconds),
        graceful_shutdown_timeout_s=settings.drain_seconds,
    )
    return deployment(ray_serve.ingress()(Replica)).bind(open_server)


def serve(open_server: Open, settings: ServeSettings, n: int, on_ready: Callable[[str], None]) -> None:
    """Run N replicas until SIGTERM or Ctrl-C: on the cluster of RAY_ADDRESS, or in one that ends with them."""
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": max(n, os.cpu_count() or 1)}
    ray.init(log_to_driver=False, **here)
    try:
        ray_serve.start(http_options={"host": settings.host, "port": settings.port})
        ray_serve.run(application(open_server, settings, n), name=_NAME, route_prefix="/")
        on_ready(f"http://{settings.host}:{settings.port}")
        ending.wait()
    finally:
        ray_serve.shutdown()
        ray.shutdown()
