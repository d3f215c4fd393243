"""Feedback on answers, and the examples that come of it, for people who label."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import InvalidArgument
from ...store import Conflict, Example, Feedback, Project
from ...store.feedback import LOCAL
from ...store.question import as_json, of_json
from ...store.schema import EXAMPLE_STATES, SOURCES
from ..bodies import Body
from ..failures import Failure
from ..questions import project_of, server_of
from .files import missing, number, page

_MOST_LISTED, _LISTED = 1000, 100
_BEST_SCORE = 5
_CHANGES = ("state", "answer", "rejected", "family")


class _Json(JSONResponse):
    """Users' texts may have halves of surrogate pairs, which JSON can say in ASCII alone."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


async def give(request: Request) -> Response:
    """POST /v1/feedback: {"id", "rating": "good" | "bad" | null, "score", "correction", "reason", "messages", "answer"}

    It takes the place of what the same voter said of the answer before; with nothing said it is withdrawn.
    """
    server = server_of(request)
    body = await Body.of(request)
    identity = body.text("id")
    if not identity:
        body.refuse("id", "is missing; it is the answer's")
    rating = body.text("rating")
    if rating not in (None, "good", "bad"):
        body.refuse("rating", f"is {rating!r}, must be good, bad or null")
    said = {"rating": rating, "score": body.integer("score", 1, _BEST_SCORE)}
    said |= {name: body.text(name) for name in ("correction", "reason")}
    given = Feedback(
        answer_id="",
        voter=voter_of(request),
        source=body.choice("source", SOURCES, "api"),
        question=_question(body),
        answer=body.text("answer"),
        family=body.text("family"),
        **said,  # type: ignore[arg-type]
    )
    await asyncio.to_thread(server.records.rate, identity, project_of(request), given)
    return _Json({"id": identity, **said})


def voter_of(request: Request) -> str:
    """Whose vote it is: an API key's; without keys nobody is told apart."""
    if not server_of(request).settings.needs_key:
        return LOCAL
    return str(request.scope["flyball.client"])


def _question(body: Body) -> str | None:
    messages = body.get("messages")
    try:
        return None if messages is None else as_json(messages)
    except InvalidArgument as error:
        body.refuse("messages", error.what)


async def listed(request: Request) -> Response:
    """GET /v1/examples: oldest first; how many are in each state."""
    query = request.query_params
    limit, state = number(query, "limit", _MOST_LISTED, _LISTED), query.get("state")
    if state is not None and state not in EXAMPLE_STATES:
        raise Failure(400, f"state is {state!r}, must be one of {', '.join(EXAMPLE_STATES)}", param="state")

    def read() -> dict[str, Any]:
        examples = _project(request).examples
        found = examples.all(EXAMPLE_STATES if state is None else (state,))
        return page(map(as_dict, found), query.get("after"), limit) | {"counts": examples.counts()}

    return _Json(await asyncio.to_thread(read))


async def one(request: Request) -> Response:
    """GET /v1/examples/ID"""
    identity = request.path_params["id"]
    example = await asyncio.to_thread(lambda: _project(request).examples.get(identity))
    if example is None:
        raise missing("example", identity)
    return _Json(as_dict(example))


async def change(request: Request) -> Response:
    """PATCH /v1/examples/ID: {"version", "state", "answer", "rejected", "family"}; 409 if somebody changed it before"""
    identity, by = request.path_params["id"], voter_of(request)
    body = await Body.of(request)
    version = body.integer("version", 1, 2**31 - 1)
    if version is None:
        body.refuse("version", "is missing; it is the one that was looked at")
    if (state := body.text("state")) is not None:
        body.choice("state", EXAMPLE_STATES, "")
    values = {name: body.text(name) for name in _CHANGES[1:]}
    try:
        changed = await asyncio.to_thread(
            lambda: _project(request).examples.change(identity, version, by=by, state=state, **values)
        )
    except Conflict as error:
        raise Failure(409, str(error), code="conflict") from None
    return _Json(as_dict(changed))


def as_dict(example: Example) -> dict[str, Any]:
    """An example as people who label see it."""
    question = of_json(example.question)
    names = ("id", "state", "version", "kind", "answer", "rejected", "reason", "family", "source", "voter", "model")
    return {
        "object": "example",
        **{name: getattr(example, name) for name in names},
        "messages": [{"role": "user", "content": question}] if isinstance(question, str) else question,
        "created_at": example.created // 1000,
        "changed_at": example.changed // 1000,
        "changed_by": example.changed_by,
        "digest": example.answer_id if example.answer_id and ":" not in example.answer_id else None,
    }


def _project(request: Request) -> Project:
    store = server_of(request).records.store
    if store is None:
        raise Failure(501, "this server keeps no feedback: it was started without a store")
    return store.project(project_of(request))


routes = [
    Route("/v1/feedback", give, methods=["POST"]),
    Route("/v1/examples", listed),
    Route("/v1/examples/{id}", one),
    Route("/v1/examples/{id}", change, methods=["PATCH"]),
]
