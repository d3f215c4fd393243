"""The application: the routes of all interfaces behind the guard."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import Error
from .apis import (
    admin,
    anthropic,
    batches,
    cached_answers,
    config,
    description,
    embeddings,
    feedback,
    files,
    front,
    health,
    memory,
    metrics,
    models_list,
    native,
    native_completion,
    ollama,
    ollama_models,
    openai_chat,
    openai_completions,
    openai_responses,
    receipts,
    replica,
    status,
    whoami,
)
from .failures import Failure, on_error
from .guard import Guard
from .issuers import Issuer
from .keyring import Keyring
from .permissions import protected
from .server import Server
from .streams import Client
from .telling import Telling

# In the order in which paths are compared: those that are asked for most come first.
_APIS = (
    openai_chat,
    openai_completions,
    openai_responses,
    anthropic,
    ollama,
    native_completion,
    embeddings,
    health,
    metrics,
    status,
    replica,
    whoami,
    front,
    description,
    models_list,
    files,
    batches,
    cached_answers,
    receipts,
    feedback,
    memory,
    native,
    ollama_models,
    admin,
    config,
)


def create_app(server: Server) -> Starlette:
    """The ASGI application of a server."""
    guard = Middleware(
        Guard,
        settings=server.settings,
        refused=server.observe.refused,
        current=lambda: server.settings,
        keyring=Keyring(server.settings.api_keys, server.records.store, issuer=Issuer.of(server.settings)),
    )
    app = Starlette(
        routes=[protected(route) for api in _APIS for route in api.routes],
        middleware=[guard, Middleware(Telling)],
        exception_handlers={
            Failure: _on_error,
            HTTPException: _on_http,
            Client: _on_gone,
            ClientDisconnect: _on_gone,  # in the middle of the body
            Error: _on_error,  # as Exception alone it would end the connection
            Exception: _on_error,
        },
    )
    app.state.server = server
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    request.app.state.server.observe.refused(error, request.scope)
    return await on_error(request, error)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: f"there is no {request.url.path}", 405: f"{request.method} does not go with {request.url.path}"}
    failure = Failure(error.status_code, words.get(error.status_code, error.detail), headers=error.headers)
    request.app.state.server.observe.refused(failure)
    return failure.response(request.url.path)


async def _on_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it
