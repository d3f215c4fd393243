"""The edge: what all its requests share, and its life."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from ..journal import Journal
from ..serve import http
from ..serve.failures import Failure, on_error
from ..serve.guard import Guard
from ..serve.keyring import Holder
from ..serve.streams import Client, until_gone
from .checking import Auditor
from .handing import Handing
from .replicas import Replicas
from .settings import EdgeSettings
from .telling import Telling

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class Edge:
    """Hands requests on to replicas. Use it as `async with Edge.open(settings) as edge`."""

    def __init__(self, settings: EdgeSettings, session: aiohttp.ClientSession, telling: Telling) -> None:
        self.settings = settings
        self.session = session
        self.telling = telling
        self.replicas = Replicas(settings, session, telling)
        self.auditor = Auditor(settings, self.replicas, session, telling)
        self._web: http.Web | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: EdgeSettings, journal: Journal | None = None) -> AsyncIterator[Edge]:
        """An edge that looks after its replicas as long as the block runs."""
        # An answer may take any time: looks at its replica tell whether that is still there.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            edge = cls(settings, session, Telling(settings.alerts, journal))
            working = [asyncio.ensure_future(edge.replicas.run()), asyncio.ensure_future(edge.auditor.run())]
            try:
                yield edge
            finally:
                for task in working:
                    task.cancel()
                await asyncio.gather(*working, return_exceptions=True)

    async def answer(self, request: Request) -> Response:
        """Any request: a replica's response."""
        handing = Handing(self, request, await request.body())
        return await until_gone(request, handing.response())

    async def health(self, request: Request) -> Response:
        """GET /health: the edge itself."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /ready: 503 while no replica takes requests."""
        n = len(self.replicas.ready)
        return JSONResponse({"status": "ready" if n else "no replica", "replicas": n}, 200 if n else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: the edge's own; each replica has those of its work."""
        text = self.telling.metrics(replica.state for replica in self.replicas.all)
        return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def state(self, request: Request) -> Response:
        """GET /edge/replicas"""
        return JSONResponse({"replicas": [replica.as_dict() for replica in self.replicas.all]})

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/ready", self.ready),
                Route("/metrics", self.metrics),
                Route("/edge/replicas", self.state),
                Route("/{path:path}", self.answer, methods=_METHODS),
            ],
            middleware=[Middleware(_EdgeGuard, settings=self.settings.guarded, refused=lambda failure: None)],
            exception_handlers={
                Failure: on_error,
                HTTPException: _on_http,
                Client: _on_gone,
                ClientDisconnect: _on_gone,
                Exception: on_error,
            },
        )

    async def serve(self, sock: socket.socket, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until end() is called; then finish what runs, within `drain` seconds."""
        self._web = http.web(self.app())
        self._web.config.timeout_graceful_shutdown = int(self.settings.drain)
        on_ready()
        await self._web.serve([sock])

    def end(self) -> None:
        """Take no more requests; a second time: end those that run as well."""
        if self._web is not None:
            self._web.force_exit = self._web.should_exit
            self._web.should_exit = True


class _EdgeGuard(Guard):
    """The guard of a server, but that replicas check who asks."""

    async def _check(self, scope: Scope, headers: Headers) -> Holder:
        if scope["method"] in ("POST", "PUT", "PATCH"):
            self._check_body(scope, headers)
        return Holder("")


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Failure(error.status_code, error.detail, headers=error.headers).response(request.url.path)


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it
