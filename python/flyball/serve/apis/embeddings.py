"""OpenAI's /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...errors import Error
from .. import questions
from ..bodies import Body
from ..failures import Failure
from ..models import Served
from ..questions import server_of
from ..server import Server
from ..streams import until_gone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MOST_INPUTS = 2048


async def embeddings(request: Request) -> Response:
    """POST /v1/embeddings"""
    server = server_of(request)
    server.refuse_if_draining()
    server.queue.refuse_if_full(int(request.headers.get("content-length", 0)) // 4)
    body = await Body.of(request)
    body.refuse_all({"dimensions": "is not supported: vectors have the model's own size"})
    served = await server.models.get(body.text("model"))
    as_base64 = body.choice("encoding_format", ("float", "base64"), "float") == "base64"
    prompts = inputs(served, body, "input")
    vectors = await until_gone(request, embed(server, served, prompts))
    n_tokens = sum(map(len, prompts))
    data = [
        {"object": "embedding", "index": number, "embedding": _encoded(vector, as_base64)}
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    whole = {"object": "list", "data": data, "model": served.name, "usage": usage}
    return JSONResponse(whole, headers=questions.ignored(body))


def inputs(served: Served, body: Body, name: str) -> list[list[int]]:
    """Texts or ids, one or many, as ids."""
    given = body.get(name)
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not given:
        body.refuse(name, "must be text, a list of texts, token ids, or lists of token ids")
    if len(given) > _MOST_INPUTS:
        body.refuse(name, f"has {len(given)} entries, at most {_MOST_INPUTS}")
    return [_ids(served, body, f"{name}[{number}]", one) for number, one in enumerate(given)]


def _ids(served: Served, body: Body, place: str, given: object) -> list[int]:
    n_vocab = served.model.info.n_vocab
    if isinstance(given, str):
        ids = served.model.tokenize(given)
    elif isinstance(given, list) and all(type(token) is int and 0 <= token < n_vocab for token in given):
        ids = list(given)
    else:
        body.refuse(
            place, f"must be text, or ids of this model's {n_vocab} tokens: another model's ids mean nothing here"
        )
    if not ids:
        body.refuse(place, "is empty")
    if len(ids) > served.context:
        body.refuse(place, f"has {len(ids)} tokens, the context holds {served.context}")
    return ids


async def embed(server: Server, served: Served, prompts: list[list[int]]) -> list[npt.NDArray[np.float32]]:
    """A vector for each prompt. One after the other: when the client goes, the rest is not computed."""
    vectors = []
    async with server.side_work:
        for prompt in prompts:
            try:
                vectors.append(await asyncio.to_thread(served.model.embed, prompt))
            except Error as error:
                raise Failure.of(error) from None
    return vectors


def _encoded(vector: npt.NDArray[np.float32], as_base64: bool) -> Any:
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


routes = [Route("/v1/embeddings", embeddings, methods=["POST"])]
