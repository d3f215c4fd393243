"""OpenAI's /v1/models."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..models import Entry
from ..questions import server_of


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


async def models(request: Request) -> Response:
    """GET /v1/models"""
    return JSONResponse({"object": "list", "data": [as_dict(entry) for entry in server_of(request).models.entries]})


async def model(request: Request) -> Response:
    """GET /v1/models/NAME"""
    return JSONResponse(as_dict(server_of(request).models.find(request.path_params["name"])))


routes = [
    Route("/v1/models", models),
    Route("/models", models),
    Route("/v1/models/{name:path}", model),
    Route("/models/{name:path}", model),
]
