"""Metrics for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..questions import server_of

if TYPE_CHECKING:
    from ..exposition import Exposition
    from ..server import Server


async def metrics(request: Request) -> Response:
    """GET /metrics"""
    server = server_of(request)
    if server.exposition is None:
        server.exposition = await asyncio.to_thread(_exposition, server)
    await asyncio.to_thread(server.exposition.adapters.read)
    text, kind = server.exposition.text()
    # llama-server's header, by which its readers see that counters began anew.
    return Response(text, headers={"content-type": kind, "process-start-time-unix": str(int(server.observe.started))})


def _exposition(server: Server) -> Exposition:
    from ..exposition import Exposition

    return Exposition(server)


routes = [Route("/metrics", metrics)]
