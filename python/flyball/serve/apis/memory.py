"""What is remembered of whoever asks: to see, add, search and delete it."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import Error
from ...memory import Found, Memory
from ...memory.memory import MOST_FOUND
from ...store.memory import KINDS, Item
from ..bodies import Body
from ..failures import Failure
from ..questions import project_of, server_of
from ..remembering import user_of
from .files import number

_MOST_LISTED = 1000
_MOST_SEARCHED = 100


async def listed(request: Request) -> Response:
    """GET /v1/memory: all of the user, or with `q` the pieces of documents that fit it"""
    query = request.query_params
    memory = await _memory(request, query.get("user"))
    if (question := query.get("q")) is not None:
        most = number(query, "limit", _MOST_SEARCHED, MOST_FOUND)
        found = await _done(lambda: [_found(each) for each in memory.search(question, most)])
        return JSONResponse({"object": "list", "data": found})
    kind = query.get("kind")
    if kind not in (None, *KINDS):
        raise Failure(400, f"kind: is {kind[:40]!r}, must be fact or document", param="kind", code="invalid_value")
    most = number(query, "limit", _MOST_LISTED, _MOST_LISTED)

    def read() -> list[dict[str, Any]]:
        items = list(memory.items(kind, replaced=query.get("replaced") == "true"))[:most]
        return [_item(each, memory.text(each.id) if each.kind == "fact" else None) for each in items]

    return JSONResponse({"object": "list", "data": await _done(read)})


async def add(request: Request) -> Response:
    """POST /v1/memory: a fact, or with `name` a document"""
    body = await Body.of(request)
    text, name, user = body.text("text"), body.text("name"), body.text("user")
    if not text:
        body.refuse("text", "is missing; it is what to remember")
    memory = await _memory(request, user)
    item = await _done(lambda: memory.remember(text) if name is None else memory.add(name, text))
    return JSONResponse(_item(item, text if name is None else None))


async def one(request: Request) -> Response:
    """GET /v1/memory/ID: with its text"""
    memory = await _memory(request, request.query_params.get("user"))
    identity = request.path_params["id"]
    return JSONResponse(await _done(lambda: _item(memory.get(identity), memory.text(identity))))


async def forget(request: Request) -> Response:
    """DELETE /v1/memory/ID: the record of the deletion"""
    return await _forget(request, [request.path_params["id"]])


async def forget_all(request: Request) -> Response:
    """DELETE /v1/memory: all of the user; the record of the deletion"""
    return await _forget(request, None)


async def _forget(request: Request, ids: list[str] | None) -> Response:
    memory = await _memory(request, request.query_params.get("user"))
    record = await _done(lambda: memory.forget(ids))
    server_of(request).records.tell("MEMORY_FORGOTTEN", {"number": record.number, "hash": record.hash})
    return JSONResponse({"object": "memory.deletion", **record.as_dict()})


async def _memory(request: Request, given: str | None) -> Memory:
    server = server_of(request)
    store = server.records.store
    if store is None:
        raise Failure(501, "this server remembers nothing: it was started without a store")
    user = user_of(request, server, given)
    project = await asyncio.to_thread(store.project, project_of(request))
    return await server.remembering.memory(project, user)


async def _done(work: Any) -> Any:
    try:
        return await asyncio.to_thread(work)
    except Error as error:
        raise Failure.of(error) from None


def _item(item: Item, text: str | None) -> dict[str, Any]:
    return {
        "id": item.id,
        "object": f"memory.{item.kind}",
        "slot": item.slot,
        "name": item.name,
        "source": item.source,
        "n_characters": item.n_characters,
        "created_at": item.created // 1000,
        "replaced_at": None if item.replaced is None else item.replaced // 1000,
        "salt": item.salt,
        "hash": item.hash,
    } | ({} if text is None else {"text": text})


def _found(found: Found) -> dict[str, Any]:
    return {"id": found.id, "object": "memory.piece", **vars(found)}


routes = [
    Route("/v1/memory", listed),
    Route("/v1/memory", add, methods=["POST"]),
    Route("/v1/memory", forget_all, methods=["DELETE"]),
    Route("/v1/memory/{id}", one),
    Route("/v1/memory/{id}", forget, methods=["DELETE"]),
]
