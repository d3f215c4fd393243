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
from ..prompts import prompts_of
from ..questions import server_of
from ..server import Server
from ..streams import until_gone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_INPUTS = 2048


async def embeddings(request: Request) -> Response:
    """POST /v1/embeddings"""
    server = server_of(request)
    body = await questions.body_of(request, server)
    body.refuse_all({"dimensions": "is not supported: vectors have the model's own size"})
    served = await server.models.get(body.text("model"))
    as_base64 = body.choice("encoding_format", ("float", "base64"), "float") == "base64"
    prompts, _ = await prompts_of(served, body, "input", MOST_INPUTS)
    refuse_too_long(served, body, "input", prompts)
    vectors = await until_gone(request, embed(server, served, prompts, questions.project_of(request)))
    n_tokens = sum(map(len, prompts))
    data = [
        {"object": "embedding", "index": number, "embedding": _encoded(vector, as_base64)}
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    whole = {"object": "list", "data": data, "model": served.name, "usage": usage}
    return JSONResponse(whole, headers=questions.ignored(body))


def refuse_too_long(served: Served, body: Body, name: str, prompts: list[list[int]]) -> None:
    """Raise the Failure of the first prompt that the context does not hold."""
    for number, ids in enumerate(prompts):
        if len(ids) > served.context:
            what = f"has {len(ids)} tokens, too large for the context of {served.context}"
            body.refuse(f"{name}[{number}]", what)


async def embed(
    server: Server, served: Served, prompts: list[list[int]], project: str
) -> list[npt.NDArray[np.float32]]:
    """A vector for each prompt. One after the other: when the client goes, the rest is not computed."""
    vectors: list[npt.NDArray[np.float32]] = []
    reserved = await server.quotas.reserve(project, sum(map(len, prompts)))
    try:
        async with server.side_work:
            for prompt in prompts:
                vectors.append(await asyncio.to_thread(served.model.embed, prompt))
    except Error as error:
        raise Failure.of(error) from None
    finally:
        reserved.settle(sum(map(len, prompts[: len(vectors)])))
    return vectors


def _encoded(vector: npt.NDArray[np.float32], as_base64: bool) -> Any:
    if as_base64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


routes = [Route("/v1/embeddings", embeddings, methods=["POST"])]
