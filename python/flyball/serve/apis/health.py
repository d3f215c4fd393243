"""Whether the server is there, and whether it takes requests."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..questions import server_of


async def live(request: Request) -> Response:
    """GET /health: 200, or 503 where answers run and no step has ended for too long."""
    if (name := server_of(request).stalled()) is not None:
        return JSONResponse({"status": "stalled", "model": name}, 503)
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """GET /ready: 200, or 503 while the server ends."""
    state = server_of(request).state
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


routes = [
    Route("/health", live),
    Route("/v1/health", live),
    Route("/ready", ready),
]
