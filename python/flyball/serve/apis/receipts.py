"""Receipts of answers, and their verification."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...engine.adapter import Adapter
from ...engine.receipt import Receipt
from ...engine.verify import report_of
from ...errors import Error
from ..bodies import Body
from ..failures import Failure
from ..models import Served
from ..questions import project_of, server_of
from ..records import receipt_as_dict
from ..server import Server
from ..streams import until_gone


async def receipt(request: Request) -> Response:
    """GET /v1/receipts/ID"""
    server, project = server_of(request), project_of(request)
    record = await asyncio.to_thread(server.records.get, request.path_params["id"], project)
    return JSONResponse(await asyncio.to_thread(receipt_as_dict, record))


async def keys(request: Request) -> Response:
    """GET /.well-known/flyball-keys.json: the public keys that verify what the server has signed."""
    signer = server_of(request).records.signer
    if signer is None:
        raise Failure(404, "this server signs nothing")
    public = await asyncio.to_thread(lambda: signer.public_keys)
    return Response(public.json, media_type="application/json")


async def head(request: Request) -> Response:
    """GET /v1/journal/head: a signed note, which witnesses can cosign."""
    signer = server_of(request).records.signer
    note = None if signer is None else await asyncio.to_thread(signer.head)
    if note is None:
        raise Failure(404, "this server keeps no journal, or signs nothing")
    return Response(str(note), media_type="text/plain; charset=utf-8")


async def verify(request: Request) -> Response:
    """POST /v1/verify: {"id": ...} or {"receipt": {...}}"""
    server = server_of(request)
    server.refuse_if_draining()
    body = await Body.of(request)
    checked = await asyncio.to_thread(_receipt, server, body, project_of(request))
    served = _model(server, checked)
    origin = "own" if body.text("id") is not None else "given"
    async with server.side_work:
        try:
            adapters = await _adapters(server, checked, served, project_of(request))
            said = await until_gone(request, asyncio.to_thread(_verify, checked, served, adapters))
        except Failure:
            server.observe.verified(origin, "undecided")
            raise
    server.observe.verified(origin, "verified" if said["verified"] else "mismatch")
    return JSONResponse(said)


def _receipt(server: Server, body: Body, project: str) -> Receipt:
    if (identity := body.text("id")) is not None:
        return server.records.get(identity, project).receipt.result()
    given = body.inside("receipt")
    if given is None:
        body.refuse("receipt", "is missing; give a receipt, or the id of an answer")
    try:
        return Receipt(json.dumps(given.members))
    except Error as error:
        raise Failure.of(error) from None


def _model(server: Server, checked: Receipt) -> Served:
    for served in server.models:
        if served.model.info.fingerprint == checked.fingerprint:
            return served
    raise Failure(404, f"the receipt is of model {checked.fingerprint[:16]}..., which is not served", param="receipt")


async def _adapters(server: Server, checked: Receipt, served: Served, project: str) -> list[Adapter]:
    """Those that the answer was made with, by their digests."""
    try:
        return [await server.adapters.of_digest(served, project, digest) for digest in checked.adapters]
    except Error as error:
        raise Failure.of(error) from None


def _verify(checked: Receipt, served: Served, adapters: list[Adapter]) -> dict[str, Any]:
    try:
        report = report_of(checked, served.model, adapters=adapters)
    except Error as error:
        raise Failure.of(error) from None
    return {
        "verified": report["verified"],
        "positions": report["n_compared"],
        "difference": None if report["verified"] else report["difference"],
        "position": None if report["verified"] else report["position"],
        "message": report["message"],
        "digest": report["digest"],
    }


routes = [
    Route("/v1/receipts/{id}", receipt),
    Route("/v1/journal/head", head),
    Route("/.well-known/flyball-keys.json", keys),
    Route("/v1/verify", verify, methods=["POST"]),
]
