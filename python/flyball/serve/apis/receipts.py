"""Receipts of answers, and their verification."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...engine.receipt import Receipt
from ...engine.verify import report_of
from ...errors import Error
from ..bodies import Body
from ..failures import Failure
from ..models import Served
from ..questions import server_of
from ..server import Server
from ..streams import until_gone


async def receipt(request: Request) -> Response:
    """GET /v1/receipts/ID"""
    record = server_of(request).records.get(request.path_params["id"])
    return JSONResponse({"id": record.id, "model": record.model, "receipt": json.loads(record.receipt.json)})


async def verify(request: Request) -> Response:
    """POST /v1/verify: {"id": ...} or {"receipt": {...}}"""
    server = server_of(request)
    server.refuse_if_draining()
    body = await Body.of(request)
    checked = _receipt(server, body)
    served = _model(server, checked)
    async with server.side_work:
        return JSONResponse(await until_gone(request, asyncio.to_thread(_verify, checked, served)))


def _receipt(server: Server, body: Body) -> Receipt:
    if (identity := body.text("id")) is not None:
        return server.records.get(identity).receipt
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


def _verify(checked: Receipt, served: Served) -> dict[str, Any]:
    try:
        report = report_of(checked, served.model)
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
    Route("/v1/verify", verify, methods=["POST"]),
]
