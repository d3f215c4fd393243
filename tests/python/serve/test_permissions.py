"""Which scope each route asks for: all have one, and nothing is open but what is needed before there is a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flyball.serve import app, guard, permissions
from flyball.serve.failures import Failure
from flyball.serve.permissions import ANY, OPEN, protected, scope_of
from flyball.store.roles import ROLES, SCOPES

ROUTES = [route for api in app._APIS for route in api.routes]


def methods(route: Route) -> set[str]:
    return (route.methods or set()) - {"HEAD"} or {"HEAD"}


def test_every_route_has_a_scope_and_every_scope_a_route() -> None:
    there = {scope_of(method, route.path) for route in ROUTES for method in methods(route)}
    assert there == {OPEN, ANY, *SCOPES}
    known = {route.path for route in ROUTES} | {f"{each} {route.path}" for route in ROUTES for each in methods(route)}
    assert set(permissions._BY_ROUTE) <= known, "of a route that is no more"


def test_the_guard_lets_in_without_a_key_what_is_open() -> None:
    for route in ROUTES:
        path = route.path.replace("{name}", "index.html")
        is_open = scope_of(next(iter(methods(route))), route.path) == OPEN
        assert guard._is_open(path) == is_open, path


@pytest.mark.parametrize("path", ["/v1/new", "/metrics/", "/V1/chat/completions", "", "/admin", "/v1/files/{other}"])
def test_a_route_that_nobody_thought_of_is_none(path: str) -> None:
    async def endpoint(request: Request) -> Response:
        raise AssertionError("was reached")

    with pytest.raises(LookupError, match=r"permissions\.py"):
        protected(Route(path or "/", endpoint, methods=["PUT"]) if path else Route("/x", endpoint))


def asked(scopes: Any, path: str = "/v1/memory") -> Response:
    async def endpoint(request: Request) -> Response:
        return JSONResponse({})

    class Server:
        class quotas:
            @staticmethod
            async def admit(project: str) -> None:
                assert project == "mine"

    application = type("App", (), {"state": type("State", (), {"server": Server})})
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "app": application}
    scope |= {"flyball.project": "mine"} | ({} if scopes is None else {"flyball.scopes": scopes})
    made: Any = protected(Route(path, endpoint)).endpoint
    said: Response = asyncio.run(made(Request(scope)))
    return said


@pytest.mark.parametrize("scopes", [None, frozenset(), ROLES["auditor"], frozenset(SCOPES) - {"memory"}])
def test_who_has_no_scope_is_refused(scopes: Any) -> None:
    """Also where nothing says what whoever asks may do."""
    with pytest.raises(Failure, match="it needs the scope memory") as caught:
        asked(scopes)
    assert (caught.value.status, caught.value.code) == (403, "missing_scope")


def test_who_has_it_is_answered() -> None:
    assert asked(ROLES["member"]).status_code == 200
    assert asked(None, "/health").status_code == 200


def test_roles_have_what_they_are_for() -> None:
    may = {role: {route for route, scope in permissions._BY_ROUTE.items() if scope in ROLES[role]} for role in ROLES}
    assert {"/v1/receipts/{id}", "/v1/journal/head", "/admin/log", "/metrics", "/v1/status"} <= may["auditor"]
    assert not {"/v1/chat/completions", "/v1/files", "/v1/memory", "/admin/tokens"} & may["auditor"]
    assert {"/v1/chat/completions", "/v1/files", "/v1/memory", "/v1/feedback"} <= may["member"]
    assert not {"/admin/tokens", "/admin/log", "/v1/cache", "/v1/examples", "/metrics"} & may["member"]
    assert {"/admin/tokens", "/admin/log", "/v1/cache"} <= may["owner"]
