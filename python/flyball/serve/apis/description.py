"""The server's own description, for programs that make clients of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..openapi import document


async def openapi(request: Request) -> Response:
    """GET /openapi.json"""
    return JSONResponse(document(request.app.routes))


routes = [Route("/openapi.json", openapi)]
