"""Anthropic's /v1/messages, and its count of tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...engine.results import Result
from .. import answers, constraining, questions
from ..answering import Answering, Ask
from ..blocks import Block, Blocks, Step
from ..bodies import Body
from ..failures import request_id
from ..questions import server_of
from ..resuming import Numbered, Origin
from ..server import Server
from ..streams import event, json_response, streamed, until_gone
from . import anthropic_turns as turns

Event = tuple[dict[str, Any], str]  # its data and its name

_PATH = "/v1/messages"
_PING = event({"type": "ping"}, "ping")
_THINKS = {"enabled": True, "adaptive": True, "between_tools": True, "disabled": False}


@dataclass(frozen=True)
class Conversation:
    """What the prompt is made of, and what is accepted without effect."""

    messages: list[dict[str, Any]]
    names: dict[str, Any]
    form: constraining.Form | None
    ignored: list[str]


async def messages(request: Request) -> Response:
    """POST /v1/messages"""
    server = server_of(request)
    body = await questions.body_of(request, server)
    served = await questions.model_of(request, body)
    if not body.has("max_tokens"):
        body.refuse("max_tokens", "is missing: it bounds the answer")
    read = _read(request, body)
    options = questions.sampling(body, server, stop="stop_sequences")
    stream = body.flag("stream")
    origin = Origin.of(request)
    ask = await questions.ask_chat(
        request, body, served, read.messages, read.names, options, ("max_tokens",), origin=origin, form=read.form
    )
    headers = {
        **questions.ignored(body, *read.ignored, *constraining.ignored(read.form, served)),
        "request-id": request_id(ask.id),
    }
    if stream:
        chunks = _events(server, ask, Numbered(origin, ask.options["seed"]))
        return await streamed(
            request,
            chunks,
            lambda failure: event(failure.shape(_PATH), "error"),
            heartbeat=_PING,
            headers=headers,
        )
    answer, blocks = await until_gone(request, _whole(server, ask))
    message = _message(ask, [_block(block, answer.ask) for block in blocks], _usage(answer.result))
    message |= _ending(answer, blocks) | {"flyball": answers.proof(answer)}
    return json_response(message, {**headers, "flyball-digest": answer.result.digest})


async def count_tokens(request: Request) -> Response:
    """POST /v1/messages/count_tokens"""
    server = server_of(request)
    body = await questions.body_of(request, server)
    served = await questions.model_of(request, body)
    read = _read(request, body)
    prompt, _ = await questions.chat_prompt(served, read.messages, read.names)
    headers = {**questions.ignored(body, *read.ignored), "request-id": request_id()}
    return JSONResponse({"input_tokens": len(prompt)}, headers=headers)


# ---------------------------------------------------------------- question


def _read(request: Request, body: Body) -> Conversation:
    """The conversation of a request; Failure for what cannot be answered."""
    plain = turns.messages(body)
    tools, ignored = turns.tools(body)
    forced: list[Mapping[str, Any]] = []
    choice = body.inside("tool_choice")
    match choice.text("type") if choice else "auto":
        case "auto":
            pass
        case "none":
            tools = []
        case "any" | "tool":
            assert choice is not None
            name = choice.text("name") if choice.text("type") == "tool" else None
            if name is None and choice.text("type") == "tool":
                body.refuse("tool_choice.name", "is missing; it names the tool")
            forced = constraining.named(body, tools, name)
        case _:
            body.refuse("tool_choice.type", "must be auto, none, any or tool")
    config = body.inside("output_config")
    effort = config.text("effort") if config else None
    one = choice is not None and choice.flag("disable_parallel_tool_use")
    form = constraining.calling(_format(body, config), tools, forced, one)
    names = questions.variables(body, tools, effort)
    thinking = body.inside("thinking")
    if thinking is not None:
        names.setdefault("enable_thinking", _THINKS[thinking.choice("type", tuple(_THINKS), "")])
    for inner in (thinking, choice, config):
        ignored += inner.unread() if inner else []
    ignored += ["anthropic-beta"] if "anthropic-beta" in request.headers else []
    ignored += ["?" + name for name in request.query_params]
    return Conversation(plain, names, form, ignored)


def _format(body: Body, config: Body | None) -> constraining.Form | None:
    """The form of an answer that must be JSON. Older clients name it in the body itself."""
    for place, inner in (("output_config.format", config), ("output_format", body)):
        form = inner.inside(place.rpartition(".")[2]) if inner else None
        if form is not None:
            kind = form.choice("type", ("json_schema",), "json_schema")
            return constraining.of_schema(body, place, kind, form.get("schema"))
    return None


# ---------------------------------------------------------------- answer


def _usage(result: Result) -> dict[str, int]:
    """Tokens as Anthropic counts them: those of the prompt that were cached stand apart."""
    cached = result.metrics.cached_tokens
    return _counts(len(result.prompt) - cached, cached, len(result.tokens))


def _counts(fresh: int, cached: int, generated: int) -> dict[str, int]:
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": generated,
    }


def _message(ask: Ask, content: list[dict[str, Any]], usage: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{ask.id}",
        "type": "message",
        "role": "assistant",
        "model": ask.served.name,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": dict(usage),
    }


def _ending(answer: Answering, blocks: list[Block]) -> dict[str, str | None]:
    """Why the answer ended. `flyball.stop_reason` has our word."""
    reason, text = answer.result.stop_reason, answers.stop_text(answer)
    if text is not None and blocks and blocks[-1].call and text in answer.ask.served.chat.call_ends()[1]:
        text = None  # no stop text of the client's: the answer shall end with its first call
    if text is not None:
        word = "stop_sequence"
    elif reason in answers.STOPPED:
        word = "tool_use" if any(block.call for block in blocks) else "end_turn"
    else:
        word = "model_context_window_exceeded" if reason == "context_full" else "max_tokens"
    return {"stop_reason": word, "stop_sequence": text}


async def _whole(server: Server, ask: Ask) -> tuple[Answering, list[Block]]:
    async with Answering(server, ask) as answer:
        return answer, await Blocks(answer).whole()


def _block(block: Block, ask: Ask) -> dict[str, Any]:
    """A whole block."""
    if block.call is not None:
        return _empty(block) | {"input": dict(block.call.mapping)}
    if block.kind == "thinking":
        return _empty(block) | {"thinking": block.text, "signature": _signature(ask)}
    return _empty(block) | {"text": block.text}


def _empty(block: Block) -> dict[str, Any]:
    """A block as it begins."""
    if block.call is not None:
        return {"type": "tool_use", "id": block.call.id, "name": block.call.name, "input": {}}
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _signature(ask: Ask) -> str:
    """Some clients drop thoughts without one: the id of the receipt, which proves them with the answer."""
    return ask.id


async def _events(server: Server, ask: Ask, numbered: Numbered) -> AsyncIterator[bytes]:
    """The events of a stream. What was cached is known at its end, which corrects the count at its start."""
    async with Answering(server, ask) as answer:
        start = _message(ask, [], _counts(len(ask.prompt), 0, 0))
        yield numbered.event(*_event("message_start", message=start))
        yield _PING
        blocks = Blocks(answer)
        async for step in blocks:
            for each in _step_events(step, ask):
                yield numbered.event(*each)
        ending = _ending(answer, blocks.all)
        last = _event("message_delta", delta=ending, usage=_usage(answer.result), flyball=answers.proof(answer))
        yield numbered.event(*last)
        yield numbered.event(*_event("message_stop"))


def _step_events(step: Step, ask: Ask) -> list[Event]:
    block, index = step.block, step.block.index

    def delta(kind: str, member: str, text: str) -> Event:
        return _event("content_block_delta", index=index, delta={"type": kind, member: text})

    if step.what == "begin":
        return [_event("content_block_start", index=index, content_block=_empty(block))]
    if step.what == "add":
        forms = {"call": ("input_json_delta", "partial_json"), "thinking": ("thinking_delta", "thinking")}
        return [delta(*forms.get(block.kind, ("text_delta", "text")), step.text)]
    signature = [delta("signature_delta", "signature", _signature(ask))] if block.kind == "thinking" else []
    return [*signature, _event("content_block_stop", index=index)]


def _event(kind: str, **members: Any) -> Event:
    return {"type": kind} | members, kind


routes = [
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
]
