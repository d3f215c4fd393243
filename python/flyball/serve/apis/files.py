"""OpenAI's /v1/files: what batches read and write."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ...store import File, Project
from ..failures import Failure
from ..questions import project_of, server_of
from ..records import KEPT_MS

_PURPOSE = "batch"
_MOST_LISTED = 10_000
_PIECE_BYTES = 1 << 20
_MOST_FIELDS = 8
_MOST_FIELD_BYTES = 4096
_EXPIRES = (3600, 2_592_000)  # seconds, OpenAI's bounds


def stored_project(request: Request) -> Project:
    """The project of whoever asks; Failure 501 on a server without a store."""
    store = server_of(request).records.store
    if store is None:
        raise Failure(501, "this server keeps no files and runs no batches: it was started without a store")
    return store.project(project_of(request))


def as_dict(file: File) -> dict[str, Any]:
    """A file as OpenAI tells of it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.n_bytes,
        "created_at": file.created // 1000,
        "expires_at": None if file.expires is None else file.expires // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "sha256": file.sha256,
    }


def missing(what: str, identity: str) -> Failure:
    """404: there is none of this id, or it is another project's."""
    return Failure(404, f"there is no {what} {identity!r}", param="id", code="not_found")


def number(query: Mapping[str, str], name: str, most: int, default: int) -> int:
    """A whole number of a query from 1 to `most`."""
    given = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", given) or not 1 <= int(given) <= most:
        raise Failure(400, f"{name}: is {given[:20]!r}, must be 1 to {most}", param=name, code="invalid_value")
    return int(given)


def page(entries: Iterable[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """At most `limit` entries behind the one with the id `after`, as OpenAI lists them."""
    rest: Iterator[dict[str, Any]] = iter(entries)
    if after is not None and all(entry["id"] != after for entry in rest):
        raise Failure(400, f"after: {after[:80]!r} is not in the list", param="after", code="invalid_value")
    listed: list[dict[str, Any]] = []
    has_more = False
    for entry in rest:
        has_more = len(listed) == limit
        if has_more:
            break
        listed.append(entry)
    ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {"first_id": None, "last_id": None}
    return {"object": "list", "data": listed, "has_more": has_more, **ends}


async def upload(request: Request) -> Response:
    """POST /v1/files: a form with `file` and `purpose`."""
    server_of(request).refuse_if_draining()
    project = await asyncio.to_thread(stored_project, request)
    form = request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES)
    async with form as fields:
        file, purpose = fields.get("file"), fields.get("purpose")
        if not isinstance(file, UploadFile):
            raise Failure(400, "file: is missing; send it as a part with a file name", param="file")
        if purpose != _PURPOSE:
            what = f"purpose: is {purpose!r}, must be {_PURPOSE}: nothing else here reads files"
            raise Failure(400, what, param="purpose", code="invalid_value")
        given = {name: value for name, value in fields.items() if isinstance(value, str)}
        name, expires = file.filename or "upload.jsonl", _expires(given)
        stored = await asyncio.to_thread(lambda: project.files.put(name, _PURPOSE, _pieces(file), expires))
    return JSONResponse(as_dict(stored))


def _pieces(file: UploadFile) -> Iterator[bytes]:
    while piece := file.file.read(_PIECE_BYTES):
        yield piece


def _expires(fields: Mapping[str, str]) -> int:
    """When the file goes: as the client says, else after KEPT_MS."""
    now = time.time_ns() // 1_000_000
    if (given := fields.get("expires_after[seconds]")) is None:
        return now + KEPT_MS
    least, most = _EXPIRES
    if not re.fullmatch(r"[0-9]{1,9}", given) or not least <= int(given) <= most:
        what = f"expires_after.seconds: is {given[:20]!r}, must be {least} to {most}"
        raise Failure(400, what, param="expires_after", code="invalid_value")
    return now + int(given) * 1000


async def listed(request: Request) -> Response:
    """GET /v1/files"""
    query = request.query_params
    limit, newest_first = number(query, "limit", _MOST_LISTED, _MOST_LISTED), query.get("order") != "asc"

    def read() -> dict[str, Any]:
        files = stored_project(request).files.all(query.get("purpose"), newest_first)
        return page(map(as_dict, files), query.get("after"), limit)

    return JSONResponse(await asyncio.to_thread(read))


async def one(request: Request) -> Response:
    """GET /v1/files/ID"""
    identity = request.path_params["id"]
    file = await asyncio.to_thread(lambda: stored_project(request).files.get(identity))
    if file is None:
        raise missing("file", identity)
    return JSONResponse(as_dict(file))


async def content(request: Request) -> Response:
    """GET /v1/files/ID/content"""
    identity = request.path_params["id"]

    def read() -> tuple[File, Iterator[bytes]] | None:
        files = stored_project(request).files
        file = files.get(identity)
        return None if file is None else (file, files.content(identity))

    found = await asyncio.to_thread(read)
    if found is None:
        raise missing("file", identity)
    file, pieces = found
    headers = {"content-length": str(file.n_bytes), "x-content-type-options": "nosniff"}
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


async def delete(request: Request) -> Response:
    """DELETE /v1/files/ID"""
    identity = request.path_params["id"]
    if not await asyncio.to_thread(lambda: stored_project(request).files.delete(identity)):
        raise missing("file", identity)
    return JSONResponse({"id": identity, "object": "file", "deleted": True})


routes = [
    Route("/v1/files", upload, methods=["POST"]),
    Route("/v1/files", listed),
    Route("/v1/files/{id}", one),
    Route("/v1/files/{id}", delete, methods=["DELETE"]),
    Route("/v1/files/{id}/content", content),
]
