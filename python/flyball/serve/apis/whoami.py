"""Whose a key is, for whoever holds it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..questions import project_of


async def whoami(request: Request) -> Response:
    """GET /v1/whoami"""
    said = {"project": project_of(request), "name": request.scope["flyball.name"]}
    return JSONResponse(
        said | {"scopes": sorted(request.scope["flyball.scopes"])}, headers={"cache-control": "no-store"}
    )


routes = [Route("/v1/whoami", whoami)]
