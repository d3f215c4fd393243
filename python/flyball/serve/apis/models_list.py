"""OpenAI's /v1/models."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...route.registry import AUTO
from ..models import Entry
from ..questions import server_of
from ..server import Server


def as_dict(entry: Entry) -> dict[str, Any]:
    """A model as OpenAI lists it, with vLLM's and llama-server's members where it is loaded."""
    listed: dict[str, Any] = {
        "id": entry.name,
        "object": "model",
        "created": int(entry.modified),
        "owned_by": "flyball",
        "aliases": list(entry.aliases),
        "status": {"value": "unloaded" if entry.served is None else "loaded"},
    }
    if (served := entry.served) is None:
        return listed
    info = served.model.info
    meta = {
        "n_vocab": info.n_vocab,
        "n_ctx": served.context,
        "n_ctx_train": info.context_length,
        "n_embd": info.n_embd,
        "n_params": info.n_parameters,
        "size": info.file_bytes,
        "vocab_type": 1 if info.tokenizer == "llama" else 2,
    }
    return listed | {"max_model_len": served.context, "meta": meta}


def routed(server: Server) -> list[dict[str, Any]]:
    """The name that asks for routing, where there is a registry of routes: no model's, so it has no size."""
    if server.routing is None:
        return []
    status = {"value": "loaded" if any(server.models) else "unloaded"}
    named = {"id": AUTO, "object": "model", "created": int(server.routing.modified), "owned_by": "flyball"}
    return [named | {"aliases": [], "status": status}]


async def models(request: Request) -> Response:
    """GET /v1/models"""
    server = server_of(request)
    listed = [*map(as_dict, server.models.entries), *routed(server)]  # last, as some clients take the first
    return JSONResponse({"object": "list", "data": listed})


async def model(request: Request) -> Response:
    """GET /v1/models/NAME"""
    server, name = server_of(request), request.path_params["name"]
    found = [each for each in routed(server) if each["id"] == name]
    return JSONResponse(found[0] if found else as_dict(server.models.find(name)))


routes = [
    Route("/v1/models", models),
    Route("/models", models),
    Route("/v1/models/{name:path}", model),
    Route("/models/{name:path}", model),
]
