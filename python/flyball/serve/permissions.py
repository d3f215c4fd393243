"""Which scope each route asks for. A route that is not here is none of a server: nothing is open by being forgotten.

The check is at the route that was found, not at a path that is compared once more: two readings of one path differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..store.roles import SCOPES
from .failures import Failure
from .quotas import NOT_COUNTED

OPEN = ""  # whoever can reach the server: what says that it is there, what verifies signatures, and the page

ANY = "any"  # whoever has a key, whatever it may be used for

Endpoint = Callable[[Request], Awaitable[Response]]

_SCOPES: dict[str, tuple[str, ...]] = {  # by path, or by method and path where the methods of one differ
    OPEN: ("/", "/page/{name}", "/favicon.ico", "/health", "/ready", "/.well-known/flyball-keys.json"),
    ANY: ("/v1/whoami",),
    "generate": (
        *("/v1/chat/completions", "/chat/completions", "/v1/completions", "/v1/responses", "/responses"),
        *("/v1/messages", "/v1/messages/count_tokens", "/api/chat", "/api/generate", "/completion", "/completions"),
        *("/v1/embeddings", "/embedding", "/embeddings", "/api/embed", "/api/embeddings"),
        *("/tokenize", "/detokenize", "/apply-template", "/infill", "/rerank", "/reranking", "/v1/rerank"),
        *("/v1/reranking", "/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"),
        *("POST /v1/batches", "/v1/batches/{id}/cancel"),
    ),
    "models": (
        *("/v1/models", "/models", "/v1/models/{name:path}", "/models/{name:path}", "/openapi.json", "/v1/health"),
        *("/api/version", "/api/tags", "/api/ps", "/api/show", "GET /props", "GET /lora-adapters", "/tokenizer_info"),
    ),
    "files": ("/v1/files", "/v1/files/{id}", "/v1/files/{id}/content", "GET /v1/batches", "/v1/batches/{id}"),
    "memory": ("/v1/memory", "/v1/memory/{id}"),
    "feedback": ("/v1/feedback",),
    "examples": ("/v1/examples", "/v1/examples/{id}"),
    "receipts": ("/v1/receipts/{id}", "/v1/verify"),
    "observe": ("/metrics", "/v1/status", "/v1/replica", "GET /slots"),
    "audit": ("/v1/journal/head", "/admin/log"),
    "admin": (
        *("/v1/cache", "/admin/projects", "/admin/tokens", "/admin/tokens/{id}", "/admin/quota"),
        *("/admin/config", "/admin/config/rollback"),
        *("POST /props", "POST /slots/{slot}", "POST /lora-adapters", "/api/pull", "/api/push", "/api/create"),
        *("/api/copy", "/api/delete", "/api/blobs/{digest}"),
    ),
}
_BY_ROUTE = {route: scope for scope, routes in _SCOPES.items() for route in routes}
assert set(_SCOPES) == {OPEN, ANY, *SCOPES}


def paths_of(scope: str) -> tuple[str, ...]:
    """The paths all of whose methods ask for a scope."""
    return tuple(route for route in _SCOPES[scope] if route.startswith("/"))


def scope_of(method: str, path: str) -> str:
    """The scope that a route asks for. Raises LookupError for one that has none."""
    scope = _BY_ROUTE.get(path, _BY_ROUTE.get(f"{method} {path}"))
    if scope is None:
        raise LookupError(f"{method} {path} has no scope: serve/permissions.py must say who may ask for it")
    return scope


def protected(route: BaseRoute) -> Route:
    """The route, for those alone who may use it. Raises LookupError for one without a scope."""
    assert isinstance(route, Route)
    (scope,) = {scope_of(method, route.path) for method in (route.methods or {"GET"}) - {"HEAD"} or {"HEAD"}}
    endpoint: Endpoint = route.endpoint

    @wraps(endpoint)
    async def checked(request: Request) -> Response:
        if scope != OPEN:
            if scope != ANY:
                check(request, scope)
            if scope not in NOT_COUNTED:
                await request.app.state.server.quotas.admit(str(request.scope["flyball.project"]))
        return await endpoint(request)

    return Route(route.path, checked, methods=sorted(route.methods or ()), name=route.name)


def check(request: Request, scope: str) -> None:
    """Raise Failure 403 unless whoever asks has this scope."""
    if scope not in request.scope.get("flyball.scopes", ()):
        what = f"this token may not do that: it needs the scope {scope} ({SCOPES[scope]})"
        raise Failure(403, what, code="missing_scope")
