"""OpenAI's /v1/batches: requests of a file, answered when there is time (batch_worker)."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import InvalidArgument
from ...store import Batch, Project
from .. import questions
from ..batch_lines import ENDPOINTS
from ..bodies import Body
from ..failures import Failure
from ..questions import server_of
from .files import missing, number, page, stored_project

_MOST_LISTED = 100
_LISTED = 20
_WINDOW = "24h"
_MOST_HOURS = 30 * 24
_HOUR_MS = 3_600_000


def as_dict(batch: Batch) -> dict[str, Any]:
    """A batch as OpenAI tells of it."""

    def seconds(time_ms: int | None) -> int | None:
        return None if time_ms is None else time_ms // 1000

    counts = batch.counts
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": None if batch.errors is None else json.loads(batch.errors),
        "input_file_id": batch.input_file_id,
        "completion_window": f"{round((batch.expires - batch.created) / _HOUR_MS)}h",
        "status": batch.state,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": seconds(batch.created),
        "in_progress_at": seconds(batch.in_progress_at),
        "expires_at": seconds(batch.expires),
        "finalizing_at": seconds(batch.finalizing_at),
        "completed_at": seconds(batch.completed_at),
        "failed_at": seconds(batch.failed_at),
        "expired_at": seconds(batch.expired_at),
        "cancelling_at": seconds(batch.cancelling_at),
        "cancelled_at": seconds(batch.cancelled_at),
        "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
        "metadata": dict(batch.metadata) or None,
    }


async def create(request: Request) -> Response:
    """POST /v1/batches"""
    server = server_of(request)
    server.refuse_if_draining()
    body = await Body.of(request)
    endpoint = body.choice("endpoint", ENDPOINTS, "")
    file_id = body.text("input_file_id")
    if not file_id:
        body.refuse("input_file_id", "is missing; it is the id of a file that was uploaded with the purpose batch")
    expires = time.time_ns() // 1_000_000 + _hours(body) * _HOUR_MS
    metadata = body.inside("metadata")
    members = dict(metadata.members) if metadata else {}

    def make() -> Batch:
        project = stored_project(request)
        if project.files.get(file_id) is None:
            raise Failure(404, f"there is no file {file_id!r}", param="input_file_id", code="not_found")
        return project.batches.create(endpoint, file_id, expires, members)

    batch = await asyncio.to_thread(make)
    server.batches.wake()
    return JSONResponse(as_dict(batch), headers=questions.ignored(body))


def _hours(body: Body) -> int:
    """The completion window: OpenAI's 24h, or any other number of hours."""
    window = body.text("completion_window", _WINDOW) or _WINDOW
    found = re.fullmatch(r"([0-9]{1,3})h", window)
    if found is None or not 1 <= int(found[1]) <= _MOST_HOURS:
        body.refuse("completion_window", f"is {window[:20]!r}, must be 1h to {_MOST_HOURS}h")
    return int(found[1])


async def listed(request: Request) -> Response:
    """GET /v1/batches"""
    query = request.query_params
    limit = number(query, "limit", _MOST_LISTED, _LISTED)

    def read() -> dict[str, Any]:
        batches = stored_project(request).batches.all(newest_first=True)
        return page(map(as_dict, batches), query.get("after"), limit)

    return JSONResponse(await asyncio.to_thread(read))


async def one(request: Request) -> Response:
    """GET /v1/batches/ID"""
    return JSONResponse(as_dict(await asyncio.to_thread(_get, request)))


async def cancel(request: Request) -> Response:
    """POST /v1/batches/ID/cancel: what waits is not run; what runs is completed."""
    batch = await asyncio.to_thread(_cancel, request)
    server_of(request).batches.wake()
    return JSONResponse(as_dict(batch))


def _get(request: Request, project: Project | None = None) -> Batch:
    identity = request.path_params["id"]
    batch = (project or stored_project(request)).batches.get(identity)
    if batch is None:
        raise missing("batch", identity)
    return batch


def _cancel(request: Request) -> Batch:
    project = stored_project(request)
    batch = _get(request, project)
    if batch.state in ("cancelling", "cancelled"):
        return batch
    try:
        return project.batches.advance(batch.id, "cancelling")
    except InvalidArgument:
        state = _get(request, project).state
        raise Failure(
            400, f"the batch is {state}: it cannot be canceled any more", param="id", code="has_ended"
        ) from None


routes = [
    Route("/v1/batches", create, methods=["POST"]),
    Route("/v1/batches", listed),
    Route("/v1/batches/{id}", one),
    Route("/v1/batches/{id}/cancel", cancel, methods=["POST"]),
]
