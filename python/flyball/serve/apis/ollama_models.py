"""Ollama's lists of models, its embeddings, and what of its interface this server refuses: it serves given files."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from .. import questions
from ..bodies import Body
from ..failures import Failure
from ..models import Entry, Served
from ..prompts import prompts_of
from ..questions import server_of
from ..streams import until_gone
from .embeddings import MOST_INPUTS, embed, refuse_too_long
from .models_list import routed
from .ollama_options import begin, check_context

# The version of Ollama's interface that is spoken here: clients compare it with the one that they need.
_SPOKEN = "0.12.11"
_CHANGING = ("pull", "push", "create", "copy", "delete")
_FOREVER = "9999-12-31T23:59:59Z"
_MOST_METADATA = 4096  # characters of a value, unless all is asked for


async def version(request: Request) -> Response:
    """GET /api/version"""
    return JSONResponse({"version": _SPOKEN, "flyball": __version__})


async def tags(request: Request) -> Response:
    """GET /api/tags: the models that are there."""
    server = server_of(request)
    listed = [_listed(entry) for entry in server.models.entries]
    return JSONResponse({"models": [*listed, *map(_routed, routed(server))]})


async def running(request: Request) -> Response:
    """GET /api/ps: the models in memory."""
    loaded = [entry for entry in server_of(request).models.entries if entry.served is not None]
    return JSONResponse({"models": [_listed(entry) | _in_memory(entry) for entry in loaded]})


async def show(request: Request) -> Response:
    """POST /api/show"""
    body, served = await begin(request)
    info = served.model.info
    verbose = body.flag("verbose")
    facts: dict[str, Any] = {
        "modelfile": f"# served by Flyball {__version__}; a Modelfile is not read\nFROM {served.name}\n",
        "parameters": f"num_ctx {served.context}",
        "template": info.chat_template,
        "details": _details(served),
        "model_info": _metadata(served, verbose) | {"general.parameter_count": info.n_parameters},
        "capabilities": _capabilities(served),
    }
    if verbose:
        facts["tensors"] = [
            {"name": name, "type": kind, "shape": list(shape)} for name, kind, shape, _ in served.model.tensors()
        ]
    modified = _time(server_of(request).models.find(served.name).modified)
    return JSONResponse(facts | {"modified_at": modified}, headers=questions.ignored(body))


def _listed(entry: Entry) -> dict[str, Any]:
    """A model; what only its file tells is there once it is loaded."""
    served = entry.served
    return {
        "name": entry.name,
        "model": entry.name,
        "size": entry.n_bytes,
        "digest": served.model.info.fingerprint if served is not None else "",
        "details": _details(served) if served is not None else {"parent_model": "", "format": "gguf"},
        "modified_at": _time(entry.modified),
    }


def _routed(named: Mapping[str, Any]) -> dict[str, Any]:
    """The name that asks for routing, as a model without a file."""
    return {
        "name": named["id"],
        "model": named["id"],
        "size": 0,
        "digest": "",
        "details": {"parent_model": "", "format": "routes"},
        "modified_at": _time(named["created"]),
    }


def _in_memory(entry: Entry) -> dict[str, Any]:
    assert entry.served is not None
    rest = entry.keep_alive - (time.monotonic() - entry.served.used)
    expires = _FOREVER if math.isinf(rest) else _time(time.time() + rest)
    return {"expires_at": expires, "size_vram": 0, "context_length": entry.served.context}


def _details(served: Served) -> dict[str, Any]:
    info = served.model.info
    return {
        "parent_model": "",
        "format": "gguf",
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": _size(info.n_parameters),
        "quantization_level": info.quantization,
    }


def _size(n: int) -> str:
    """A number of parameters as people write it."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if n >= unit:
            return f"{n / unit:.3g}{name}"
    return str(n)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _metadata(served: Served, verbose: bool) -> dict[str, Any]:
    """The file's metadata as JSON has it; long values only where all is asked for."""
    given: Mapping[str, object] = served.model.metadata(2**31 - 1 if verbose else 0)
    return {key: _plain(value, verbose) for key, value in given.items()}


def _plain(value: object, verbose: bool) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each, verbose) for each in value] if verbose else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        text = value.encode(errors="replace").decode()
        return text if verbose or len(text) <= _MOST_METADATA else text[:_MOST_METADATA]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _capabilities(served: Served) -> list[str]:
    template = served.model.info.chat_template
    thinks = ["thinking"] if served.uses_thinking else []
    return ["completion"] + (["tools"] if "tools" in template else []) + thinks


async def embed_many(request: Request) -> Response:
    """POST /api/embed"""
    began = time.monotonic()
    body, served = await begin(request)
    vectors, n_tokens = await _vectors(request, body, served, "input")
    whole = {
        "model": served.name,
        "embeddings": vectors,
        "total_duration": max(1, round((time.monotonic() - began) * 1e9)),
        "load_duration": 1,
        "prompt_eval_count": n_tokens,
    }
    return JSONResponse(whole, headers=questions.ignored(body))


async def embed_one(request: Request) -> Response:
    """POST /api/embeddings: the old form."""
    body, served = await begin(request)
    if body.text("prompt") is None:
        body.refuse("prompt", "is missing; it is text")
    vectors, _ = await _vectors(request, body, served, "prompt")
    return JSONResponse({"embedding": vectors[0]}, headers=questions.ignored(body))


async def _vectors(request: Request, body: Body, served: Served, name: str) -> tuple[list[list[float]], int]:
    body.refuse_all({"dimensions": "is not supported: vectors have the model's own size"})
    if (options := body.inside("options")) is not None:
        check_context(options, served)
    prompts, _ = await prompts_of(served, body, name, MOST_INPUTS)
    if body.get("truncate") is True:  # only where it is asked for: a cut text has another meaning
        prompts = [ids[: served.context] for ids in prompts]
    refuse_too_long(served, body, name, prompts)
    vectors = await until_gone(request, embed(server_of(request), served, prompts, questions.project_of(request)))
    return [[float(value) for value in vector] for vector in vectors], sum(map(len, prompts))


async def refuse(request: Request) -> Response:
    """What changes the models: they are the files that the server was started with."""
    what = "is not supported: this server answers with the files that it was started with (flyball serve NAME=FILE)"
    raise Failure(400, f"{request.url.path} {what}", code="not_supported")


async def no_blob(request: Request) -> Response:
    """HEAD /api/blobs/DIGEST: there are none."""
    return Response(status_code=404)


routes = [
    Route("/api/version", version),
    Route("/api/tags", tags),
    Route("/api/ps", running),
    Route("/api/show", show, methods=["POST"]),
    Route("/api/embed", embed_many, methods=["POST"]),
    Route("/api/embeddings", embed_one, methods=["POST"]),
    *(
        Route(f"/api/{name}", refuse, methods=["POST", "DELETE"])
        for name in ("pull", "push", "create", "copy", "delete")
    ),
    Route("/api/blobs/{digest}", no_blob, methods=["HEAD"]),
    Route("/api/blobs/{digest}", refuse, methods=["POST"]),
]
