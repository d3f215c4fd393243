"""llama-server's interface beside its /completion: what runs, tokens and text, a chat's prompt, vectors.

Tokens and text in vLLM's form as well, by which lm-eval does without a tokenizer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from .. import questions
from ..bodies import Body
from ..failures import Failure
from ..models import Served
from ..prompts import prompts_of
from ..questions import project_of, server_of
from ..streams import until_gone
from .embeddings import MOST_INPUTS, embed, refuse_too_long
from .native_completion import settings
from .openai_chat import read_tools

_INLINE = 4096  # characters or tokens; more are worked on in a thread


async def props(request: Request) -> Response:
    """GET /props"""
    server = server_of(request)
    served = await server.models.get(request.query_params.get("model"))
    info = served.model.info
    sampling = dict(server.settings.sampling)
    defaults = settings(served, sampling, server.settings.max_tokens, sampling.get("seed"))
    whole = {
        "default_generation_settings": {"params": defaults, "n_ctx": served.context},
        "total_slots": server.settings.parallel,
        "model_alias": served.name,
        "model_path": Path(info.path).name,  # where it lies concerns nobody else
        "modalities": {"vision": False, "audio": False},
        "chat_template": info.chat_template,
        "bos_token": _control(served, info.bos),
        "eos_token": _control(served, info.eos),
        "build_info": f"b{__version__}",
    }
    return JSONResponse(whole)


def _control(served: Served, token: int) -> str:
    return served.model.detokenize([token], special=True) if token >= 0 else ""


async def slots(request: Request) -> Response:
    """GET /slots: the answers that run, and the places that are free. It waits for nothing."""
    server = server_of(request)
    running = server.observe.running
    context = max((served.context for served in server.models), default=0)
    n_places = max(server.settings.parallel, len(running))
    if "fail_on_no_slot" in request.query_params and len(running) >= n_places:
        raise Failure(503, "no slot is free", code="busy", headers={"retry-after": "2"})
    places: list[dict[str, Any]] = []
    for number in range(n_places):
        answer = running[number] if number < len(running) else None
        place: dict[str, Any] = {
            "id": number,
            "n_ctx": answer.ask.served.context if answer else context,
            "speculative": False,
            "is_processing": answer is not None,
        }
        if answer is not None and answer.ask.project == project_of(request):
            ask = answer.ask
            place |= {"id_task": ask.id, "model": ask.served.name, "n_prompt_tokens": len(ask.prompt)}
        places.append(place)
    return JSONResponse(places)


async def lora_adapters(request: Request) -> Response:
    """GET /lora-adapters: the project's adapters of a model; `scale` is 1 for the one that answers now."""
    server = server_of(request)
    served = await server.models.get(request.query_params.get("model"))
    rows = await server.adapters.rows(project_of(request), served)
    listed = [
        {
            "id": number,
            "path": row.name,  # where it lies concerns nobody else
            "task_name": "",
            "prompt_prefix": "",
            "scale": float(row.state == "active"),
            "digest": row.digest,
            "state": row.state,
        }
        for number, row in enumerate(rows)
    ]
    return JSONResponse(listed)


async def tokenizer_info(request: Request) -> Response:
    """GET /tokenizer_info"""
    info = (served := await server_of(request).models.get(request.query_params.get("model"))).model.info
    return JSONResponse(
        {
            "tokenizer_class": info.tokenizer,
            "bos_token": _control(served, info.bos) or None,
            "eos_token": _control(served, info.eos) or None,
            "chat_template": info.chat_template,
            "model_max_length": served.context,
        }
    )


async def tokenize(request: Request) -> Response:
    """POST /tokenize: `content` in llama-server's form, `prompt` in vLLM's, which adds the first token unasked."""
    body, served = await _body(request)
    in_other_form = body.has("prompt")
    add_special = body.flag("add_special_tokens", True) if in_other_form else body.flag("add_special")
    parse_special, with_pieces = body.flag("parse_special", True), body.flag("with_pieces")
    parts = body.text("prompt") if in_other_form else body.get("content", "")
    if not isinstance(parts, list):
        parts = [parts]
    n_vocab = served.model.info.n_vocab
    if not all(isinstance(part, str) or (type(part) is int and 0 <= part < n_vocab) for part in parts):
        body.refuse("content", "must be text, or a list of texts and of this model's token ids")

    def work() -> list[Any]:
        ids: list[int] = []
        for number, part in enumerate(parts):
            special = add_special and number == 0
            ids += [part] if isinstance(part, int) else served.model.tokenize(part, special, parse_special)
        return [{"id": token, "piece": _piece(served, token)} for token in ids] if with_pieces else ids

    tokens = await _worked(sum(len(part) if isinstance(part, str) else 1 for part in parts), work)
    said = {"tokens": tokens}
    if in_other_form:
        said |= {"count": len(tokens), "max_model_len": served.context}
    return JSONResponse(said, headers=questions.ignored(body))


def _piece(served: Served, token: int) -> str | list[int]:
    """A token's text, or its bytes where they are no text."""
    raw = served.model.detokenize_bytes([token], special=True)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)


async def detokenize(request: Request) -> Response:
    """POST /detokenize"""
    body, served = await _body(request)
    tokens = body.items("tokens")
    n_vocab = served.model.info.n_vocab
    if not all(type(token) is int and 0 <= token < n_vocab for token in tokens):
        body.refuse("tokens", f"must be ids of this model's {n_vocab} tokens")
    text = await _worked(len(tokens), lambda: served.model.detokenize(tokens, special=True))
    return JSONResponse({"content": text, "prompt": text}, headers=questions.ignored(body))


async def _worked(size: int, work: Callable[[], Any]) -> Any:
    return work() if size <= _INLINE else await asyncio.to_thread(work)


async def apply_template(request: Request) -> Response:
    """POST /apply-template: a chat's prompt as text, for /completion, which adds the first token itself."""
    body, served = await _body(request)
    prompt = await _chat_prompt(body, served)
    info = served.model.info
    if info.add_bos and prompt[:1] == [info.bos]:
        prompt = prompt[1:]
    text = served.model.detokenize(prompt, special=True)
    return JSONResponse({"prompt": text}, headers=questions.ignored(body))


async def count_tokens(request: Request) -> Response:
    """POST /v1/chat/completions/input_tokens: how long a chat's prompt is."""
    body, served = await _body(request)
    prompt = await _chat_prompt(body, served)
    return JSONResponse({"object": "response.input_tokens", "input_tokens": len(prompt)})


async def _chat_prompt(body: Body, served: Served) -> list[int]:
    tools, _ = read_tools(body)
    messages, begun = questions.continued(body, served, questions.plain_messages(body))
    variables = questions.variables(body, tools)
    if not begun:
        variables["add_generation_prompt"] = body.flag("add_generation_prompt", True)
    prompt, _ = await questions.chat_prompt(served, messages, variables)
    return prompt + begun


async def embedding(request: Request) -> Response:
    """POST /embedding"""
    server = server_of(request)
    server.refuse_if_draining()
    body, served = await _body(request)
    name = "content" if body.has("content") else "input"
    prompts, _ = await prompts_of(served, body, name, MOST_INPUTS)
    refuse_too_long(served, body, name, prompts)
    vectors = await until_gone(request, embed(server, served, prompts, project_of(request)))
    rows = [
        {"index": number, "embedding": [[float(value) for value in vector]]} for number, vector in enumerate(vectors)
    ]
    return JSONResponse(rows, headers=questions.ignored(body))


async def _body(request: Request) -> tuple[Body, Served]:
    body = await Body.of(request)
    return body, await server_of(request).models.get(body.text("model"))


def _refusing(what: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        raise Failure(400, f"{request.url.path}: {what}", code="not_supported")

    return refuse


_infill = _refusing("is not supported: no model here has tokens for filling in; /completion continues a text")
_rerank = _refusing("is not supported: /v1/embeddings gives vectors to compare")
_slot = _refusing("is not supported: a slot is no client's own; a prompt that was computed is found in the cache")
_change = _refusing("cannot be changed while the server runs")
_change_adapters = _refusing("is one setting for everybody; a request names its own adapter (lora, adapter)")

routes = [
    Route("/props", props, methods=["GET"]),
    Route("/props", _change, methods=["POST"]),
    Route("/slots", slots, methods=["GET"]),
    Route("/slots/{slot}", _slot, methods=["POST"]),
    Route("/lora-adapters", lora_adapters, methods=["GET"]),
    Route("/lora-adapters", _change_adapters, methods=["POST"]),
    Route("/tokenizer_info", tokenizer_info, methods=["GET"]),
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/apply-template", apply_template, methods=["POST"]),
    *(Route(f"{v1}/chat/completions/input_tokens", count_tokens, methods=["POST"]) for v1 in ("/v1", "")),
    Route("/embedding", embedding, methods=["POST"]),
    Route("/embeddings", embedding, methods=["POST"]),
    Route("/infill", _infill, methods=["POST"]),
    *(Route(path, _rerank, methods=["POST"]) for path in ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking")),
]
