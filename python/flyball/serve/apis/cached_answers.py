"""The cache of answers: a project drops its own."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import Error
from ..failures import Failure
from ..questions import project_of, server_of


async def purge(request: Request) -> Response:
    """DELETE /v1/cache: all answers that could be given again to the caller's project."""
    responses = server_of(request).responses
    if responses.answers is None:
        raise Failure(404, "this server gives no answer again: serve.response_cache is off")
    try:
        n_removed = await responses.purge(project_of(request))
    except Error as error:
        raise Failure.of(error) from None
    return JSONResponse({"removed": n_removed})


routes = [Route("/v1/cache", purge, methods=["DELETE"])]
