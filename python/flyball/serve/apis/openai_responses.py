"""OpenAI's /v1/responses, without memory: each request brings its whole conversation."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .. import answers, constraining, questions
from ..answering import Answering, Ask
from ..blocks import Block, Blocks, Step
from ..bodies import Body
from ..failures import Failure
from ..questions import server_of
from ..resuming import Numbered, Origin
from ..server import Server
from ..streams import event, json_response, streamed, until_gone
from . import responses_items as items

_STATELESS = "is not supported: this server keeps no conversations; send the whole one as input"
_REFUSED = {
    "previous_response_id": _STATELESS,
    "conversation": _STATELESS,
    "prompt": "is not supported: this server keeps no prompts",
    "background": "is not supported: an answer ends when its client goes",
}
_KINDS = {"thinking": ("rs", "reasoning"), "text": ("msg", "message"), "call": ("fc", "function_call")}


@dataclass(frozen=True)
class Wanted:
    """A request: its question, and the members of its response that are known before the answer."""

    ask: Ask
    head: dict[str, Any]
    stream: bool
    headers: dict[str, str]
    origin: Origin


async def responses(request: Request) -> Response:
    """POST /v1/responses"""
    server = server_of(request)
    wanted = await _read(request, server)
    if wanted.stream:
        stream = _Stream(server, wanted)
        return await streamed(request, stream.events(), stream.failed, headers=wanted.headers)
    answer, blocks = await until_gone(request, _whole(server, wanted.ask))
    headers = {**wanted.headers, "flyball-digest": answer.result.digest}
    return json_response(_ended(wanted, answer, blocks), headers)


# ---------------------------------------------------------------- question


async def _read(request: Request, server: Server) -> Wanted:
    body = await questions.body_of(request, server)
    body.refuse_all(_REFUSED)
    served = await questions.model_of(request, body)
    messages = items.messages(body)
    tools, ignored = items.tools(body)
    choice, forced = _choice(body, tools)
    text = body.inside("text")
    reasoning = body.inside("reasoning")
    effort = reasoning.text("effort") if reasoning else None
    options = questions.sampling(body, server)
    one = not body.flag("parallel_tool_calls", True)
    kind, form = _format(body, text)
    form = constraining.calling(form, [] if choice == "none" else tools, forced, one)
    names = questions.variables(body, [] if choice == "none" else tools, effort)
    stream = body.flag("stream")
    origin = Origin.of(request)
    bounds = ("max_output_tokens",)
    ask = await questions.ask_chat(request, body, served, messages, names, options, bounds, origin=origin, form=form)
    for inner in (text, reasoning):
        ignored += inner.unread() if inner else []
    metadata = body.members.get("metadata")
    head = {
        "id": f"resp_{ask.id}",
        "object": "response",
        "created_at": origin.created,
        "model": served.name,
        "error": None,
        "incomplete_details": None,
        "instructions": body.text("instructions"),
        "max_output_tokens": body.integer("max_output_tokens", -1, 2**31 - 1),
        "metadata": metadata if _is_metadata(metadata) else {},
        "parallel_tool_calls": not one,
        "previous_response_id": None,
        "reasoning": {"effort": effort if effort in _EFFORTS else None, "summary": None},
        "store": False,
        "temperature": options.get("temperature"),
        "text": {"format": kind},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": [_tool(tool["function"], tool in forced) for tool in tools],
        "top_p": options.get("top_p"),
        "truncation": "disabled",
    }
    headers = questions.ignored(body, *ignored, *constraining.ignored(form, served))
    return Wanted(ask, head, stream, headers, origin)


_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # others are between client and template


def _is_metadata(given: object) -> bool:
    return isinstance(given, dict) and all(isinstance(value, str) for value in given.values())


def _choice(body: Body, tools: list[dict[str, Any]]) -> tuple[str, list[Mapping[str, Any]]]:
    """auto, none or required, and the tools of which the answer must call one."""
    given = body.get("tool_choice", "auto")
    if given in ("auto", "none"):
        return given, []
    name = given.get("name") if isinstance(given, dict) and given.get("type") == "function" else None
    if given != "required" and not isinstance(name, str):
        body.refuse("tool_choice", "must be auto, none, required or {type: function, name}")
    return "required", constraining.named(body, tools, name)


def _format(body: Body, text: Body | None) -> tuple[dict[str, Any], constraining.Form | None]:
    """The text's format as responses tell it, and the form of an answer that must be JSON."""
    given = text.inside("format") if text else None
    if given is None or (kind := given.choice("type", ("text", "json_object", "json_schema"), "text")) == "text":
        return {"type": "text"}, None
    form = constraining.of_schema(body, "text.format", kind, given.get("schema"))
    if kind == "json_object":
        return {"type": kind}, form
    name = given.text("name", "answer")
    return {"type": kind, "name": name, "schema": given.get("schema"), "strict": True}, form


def _tool(function: dict[str, Any], forced: bool) -> dict[str, Any]:
    """A function as responses tell it. `strict`: its arguments are held to their schema."""
    return {"type": "function", "strict": forced, "parameters": None, "description": None} | function


# ---------------------------------------------------------------- answer


async def _whole(server: Server, ask: Ask) -> tuple[Answering, Blocks]:
    async with Answering(server, ask) as answer:
        blocks = Blocks(answer)
        await blocks.whole()
        return answer, blocks


def _ended(wanted: Wanted, answer: Answering, blocks: Blocks) -> dict[str, Any]:
    """The response of an answer that has ended."""
    result, ask = answer.result, wanted.ask
    status = "completed" if result.stop_reason in answers.STOPPED else "incomplete"
    output = [_item(block, ask, "completed") for block in blocks.all]
    if output:
        output[-1]["status"] = status
    usage = {
        "input_tokens": len(result.prompt),
        "input_tokens_details": {"cached_tokens": result.metrics.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": len(result.tokens),
        "output_tokens_details": {"reasoning_tokens": blocks.n_thinking_tokens},
        "total_tokens": len(result.prompt) + len(result.tokens),
    }
    whole = wanted.head | {"status": status, "output": output, "usage": usage, "flyball": answers.proof(answer)}
    if status == "completed":
        return whole | {"completed_at": int(time.time())}
    return whole | {"incomplete_details": {"reason": "max_output_tokens"}}  # of our reasons the nearest it has


def _item(block: Block, ask: Ask, status: str) -> dict[str, Any]:
    """An output item, with what its block has so far."""
    item = {"id": _id(block, ask), "type": _KINDS[block.kind][1], "status": status}
    if block.call is not None:
        return item | {"call_id": block.call.id, "name": block.call.name, "arguments": block.text}
    content = [_part(block)] if block.parts else []
    more: dict[str, Any] = {"summary": []} if block.kind == "thinking" else {"role": "assistant"}
    return item | {"content": content} | more


def _id(block: Block, ask: Ask) -> str:
    return f"{_KINDS[block.kind][0]}_{block.index}_{ask.id}"


def _part(block: Block) -> dict[str, Any]:
    if block.kind == "thinking":
        return {"type": "reasoning_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


@dataclass
class _Stream:
    """The events of one response, numbered."""

    server: Server
    wanted: Wanted
    _number: int = field(default=0, init=False)
    _numbered: Numbered = field(init=False)

    def __post_init__(self) -> None:
        self._numbered = Numbered(self.wanted.origin, self.wanted.ask.options["seed"])

    async def events(self) -> AsyncIterator[bytes]:
        """All of them, unless the answer fails."""
        async with Answering(self.server, self.wanted.ask) as answer:
            begun = self.wanted.head | {"status": "in_progress", "output": [], "usage": None}
            yield self._event("response.created", response=begun)
            yield self._event("response.in_progress", response=begun)
            blocks = Blocks(answer)
            held: Step | None = None  # an item that ends with the answer has the answer's status
            async for step in blocks:
                if held is not None:
                    yield self._ending(held.block, "completed")
                held = None
                for each in self._step(step):
                    yield each
                if step.what == "end":
                    held = step
            whole = _ended(self.wanted, answer, blocks)
            if held is not None:
                yield self._ending(held.block, whole["status"])
            yield self._event(f"response.{whole['status']}", response=whole)

    def failed(self, failure: Failure) -> bytes:
        """The last event of a response that has failed."""
        error = {"code": "server_error", "message": failure.message, "type": failure.kind, "param": failure.param}
        response = self.wanted.head | {"status": "failed", "output": [], "error": error}
        kind = "response.failed"  # without an id: it is no part of the answer
        return event({"type": kind, "sequence_number": self._number, "response": response}, kind)

    def _step(self, step: Step) -> list[bytes]:
        block, ask = step.block, self.wanted.ask
        place = {"output_index": block.index}
        if step.what == "begin":
            added = self._event("response.output_item.added", **place, item=_item(block, ask, "in_progress"))
            if block.call is not None:
                return [added]
            place |= self._place(block)
            return [added, self._event("response.content_part.added", **place, part=_part(block))]
        place |= self._place(block)
        name = {"call": "function_call_arguments", "thinking": "reasoning_text", "text": "output_text"}[block.kind]
        more: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
        if step.what == "add":
            return [self._event(f"response.{name}.delta", **place, delta=step.text, **more)]
        if block.call is not None:
            call = {"name": block.call.name, "arguments": block.text}
            return [self._event(f"response.{name}.done", **place, **call)]
        done = self._event(f"response.{name}.done", **place, text=block.text, **more)
        return [done, self._event("response.content_part.done", **place, part=_part(block))]

    def _place(self, block: Block) -> dict[str, Any]:
        content = {} if block.call is not None else {"content_index": 0}
        return {"item_id": _id(block, self.wanted.ask)} | content

    def _ending(self, block: Block, status: str) -> bytes:
        item = _item(block, self.wanted.ask, status)
        return self._event("response.output_item.done", output_index=block.index, item=item)

    def _event(self, kind: str, **members: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return self._numbered.event({"type": kind, "sequence_number": number} | members, kind)


routes = [Route("/v1/responses", responses, methods=["POST"]), Route("/responses", responses, methods=["POST"])]
