"""Projects, tokens, quotas and the log of administrative acts, for owners.

Everything is about the caller's own project. Owners of the default project run the server: they make projects, set
quotas, and may name another project with `project`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import Error
from ...store import Key, Project, Quota, Store
from ...store.chain import first_broken
from ...store.quotas import LIMITS
from ...store.roles import ROLES
from ...store.store import DEFAULT_PROJECT
from ..bodies import Body
from ..failures import Failure
from ..questions import project_of, server_of
from .files import missing

T = TypeVar("T")

_DAY_MS = 86_400_000
_MOST_DAYS = 36_500
_MOST_LIMIT = (1 << 53) - 1  # that every reader of JSON has exactly
_WITHOUT_STORE = "this server has no projects: it was started without a store"


async def projects(request: Request) -> Response:
    """GET /admin/projects: the caller's; all of them for owners of the default project"""
    store, own = _store(request), project_of(request)
    names = await _done(store.projects) if own == DEFAULT_PROJECT else [own]
    return JSONResponse({"object": "list", "data": [{"object": "project", "name": name} for name in names]})


async def create_project(request: Request) -> Response:
    """POST /admin/projects: a new one, by an owner of the default project"""
    name = (await Body.of(request)).text("name") or ""
    if project_of(request) != DEFAULT_PROJECT:
        raise Failure(403, "only owners of the default project make projects", code="other_project")
    made = await _done(lambda: _store(request).create_project(name, _name(request)))
    return JSONResponse({"object": "project", "name": made.name})


async def tokens(request: Request) -> Response:
    """GET /admin/tokens: all of the project, revoked ones too"""
    project = await _project(request, request.query_params.get("project"))
    keys = await _done(project.keys.all)
    return JSONResponse({"object": "list", "data": [key_as_dict(project.name, key) for key in keys]})


async def create_token(request: Request) -> Response:
    """POST /admin/tokens: a new one, whose secret is told this once"""
    body = await Body.of(request)
    project = await _project(request, body.text("project"))
    days = body.integer("days", 1, _MOST_DAYS)
    scopes = body.items("scopes") if body.get("scopes") is not None else None
    if scopes is not None and not all(isinstance(each, str) for each in scopes):
        body.refuse("scopes", "must be a list of names")
    role = body.text("role") or "member"
    _refuse_more(request, role, scopes)
    new = await _done(
        lambda: project.keys.create(
            body.text("name") or "",
            None if days is None else time.time_ns() // 1_000_000 + days * _DAY_MS,
            user=body.text("user"),
            role=role,
            scopes=scopes,
            by=_name(request),
        )
    )
    told = key_as_dict(project.name, new.key) | {"secret": new.secret}
    return JSONResponse(told, headers={"cache-control": "no-store"})


def _refuse_more(request: Request, role: str, scopes: list[str] | None) -> None:
    """Raise Failure 403 for a token that might do what its maker may not."""
    wanted = ROLES.get(role, frozenset()) if scopes is None else frozenset(scopes)
    if not wanted <= request.scope["flyball.scopes"]:
        raise Failure(403, "a token may not do more than the one that makes it; name its scopes", code="missing_scope")


async def revoke_token(request: Request) -> Response:
    """DELETE /admin/tokens/ID: refused from now on"""
    project = await _project(request, request.query_params.get("project"))
    key = await _done(lambda: project.keys.revoke(request.path_params["id"], _name(request)))
    return JSONResponse(key_as_dict(project.name, key))


async def quota(request: Request) -> Response:
    """GET /admin/quota: what the project may use; null: as much as there is"""
    project = await _project(request, request.query_params.get("project"))
    return JSONResponse(_quota_as_dict(project.name, await _done(project.quotas.get)))


async def set_quota(request: Request) -> Response:
    """POST /admin/quota: the members that are there, by an owner of the default project; null ends a limit"""
    body = await Body.of(request)
    if project_of(request) != DEFAULT_PROJECT:
        raise Failure(403, "only owners of the default project set quotas", code="other_project")
    project = await _project(request, body.text("project"))
    given = {name: body.integer(name, 0, _MOST_LIMIT) for name in LIMITS if name in body.members}

    def work() -> Quota:
        return project.quotas.set(Quota(**vars(project.quotas.get()) | given), _name(request))

    return JSONResponse(_quota_as_dict(project.name, await _done(work)))


async def log(request: Request) -> Response:
    """GET /admin/log: administrative acts, oldest first, and whether their chain holds"""
    project = await _project(request, request.query_params.get("project"))
    acts = await _done(project.log.all)
    broken = first_broken(acts)
    return JSONResponse({"object": "list", "data": [act.as_dict() for act in acts], "first_broken": broken})


def key_as_dict(project: str, key: Key) -> dict[str, Any]:
    """A token without its secret."""
    scopes = None if key.scopes is None else key.scopes.split()
    return {"object": "token", "project": project, **vars(key), "scopes": scopes}


def _quota_as_dict(project: str, quota: Quota) -> dict[str, Any]:
    return {"object": "quota", "project": project, **vars(quota)}


def _store(request: Request) -> Store:
    store = server_of(request).records.store
    if store is None:
        raise Failure(501, _WITHOUT_STORE)
    return store


def _name(request: Request) -> str:
    """Who does it, for the log."""
    return str(request.scope["flyball.name"])[:255]


async def _project(request: Request, given: str | None) -> Project:
    """The project that is meant. Of others nobody but owners of the default project learns whether they exist."""
    own, store = project_of(request), _store(request)
    if given is not None and given != own and own != DEFAULT_PROJECT:
        raise missing("project", given)
    return await _done(lambda: store.project(own if given is None else given))


async def _done(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except Error as error:
        raise Failure.of(error) from None


routes = [
    Route("/admin/projects", projects),
    Route("/admin/projects", create_project, methods=["POST"]),
    Route("/admin/tokens", tokens),
    Route("/admin/tokens", create_token, methods=["POST"]),
    Route("/admin/tokens/{id}", revoke_token, methods=["DELETE"]),
    Route("/admin/quota", quota),
    Route("/admin/quota", set_quota, methods=["POST"]),
    Route("/admin/log", log),
]
