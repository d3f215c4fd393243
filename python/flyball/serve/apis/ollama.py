"""Ollama's chats and completions: /api/chat and /api/generate. Lines of JSON, streamed unless the client says no."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...answers.parts import Delta, ToolCall
from ...errors import InvalidArgument
from .. import answers, constraining, questions, remembering
from ..answering import Answering, Ask
from ..bodies import Body, kind
from ..models import Served
from ..prompts import prompts_of
from ..questions import project_of, server_of
from ..server import Server
from ..streams import dumps, streamed, until_gone
from .ollama_options import Options, begin, keep_alive, read_options
from .openai_chat import one_call, read_tools

if TYPE_CHECKING:
    from ...answers.parser import AnswerParser
    from ...memory import Recalled
    from ..constraining import Form

_LEVELS = ("low", "medium", "high", "max")
_REFUSED = {
    "suffix": "is not supported: no model here has tokens for filling in",
    "template": "is not supported: the model's own is used; with raw: true the prompt is taken as it is",
    "images": "are not supported: this server answers text alone",
}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for. `is_chat`: messages, not text; `remembers`: the last line has the ids as `context`."""

    served: Served
    ask: Ask
    is_chat: bool
    stream: bool
    logprobs: bool
    remembers: bool
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Prompt:
    """Its ids, the time that its template was given, and the form of its answer. `recalled`: what it has of the memory;
    None: it asked for none."""

    ids: list[int]
    now: str = ""
    form: Form | None = None
    recalled: Recalled | None = None


async def chat(request: Request) -> Response:
    """POST /api/chat"""
    body, served = await begin(request)
    listed = body.items("messages")
    if not listed:
        return _loaded(served, body, is_chat=True)
    messages = [_message(body, number, message) for number, message in enumerate(listed)]
    tools, forced = read_tools(body)
    form = constraining.calling(constraining.of_ollama(body), tools, forced, one_call(body))
    options = read_options(body, served, server_of(request))
    variables = _thinking(body, served) | ({"tools": tools} if tools else {})
    prompt = await _chat_prompt(request, body, served, messages, variables, form)
    ask = await _ask(request, body, served, prompt, options, partial(served.chat.parser, prompt.ids, tools))
    return await _answer(request, _wanted(body, ask, options, is_chat=True, remembers=False))


async def generate(request: Request) -> Response:
    """POST /api/generate"""
    body, served = await begin(request)
    body.refuse_all(_REFUSED)
    if not body.text("prompt"):
        return _loaded(served, body, is_chat=False)
    options = read_options(body, served, server_of(request))
    raw, form = body.flag("raw"), constraining.of_ollama(body)
    parser: Callable[[], AnswerParser] | None = None
    if raw:
        if body.flag("memory"):
            body.refuse("memory", "does not go with raw: true, whose prompt is taken as it is")
        (ids,), _ = await prompts_of(served, body, "prompt", 1, parse_special=True)
        prompt = Prompt(ids, form=form)
    else:
        prompt = await _turn(request, body, served, form)
        parser = partial(served.chat.parser, prompt.ids)
    ask = await _ask(request, body, served, prompt, options, parser)
    return await _answer(request, _wanted(body, ask, options, is_chat=False, remembers=not raw))


async def _turn(request: Request, body: Body, served: Served, form: Form | None) -> Prompt:
    """The prompt of a text: behind the ids that an earlier answer gave as `context`, or from the beginning."""
    n_vocab = served.model.info.n_vocab
    before = body.items("context")
    if not all(type(token) is int and 0 <= token < n_vocab for token in before):
        body.refuse("context", f"must be the ids that an earlier answer of this model gave: it has {n_vocab} tokens")
    system = body.text("system")
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": body.text("prompt") or ""})
    thinking = _thinking(body, served)
    prompt = await _chat_prompt(request, body, served, messages, thinking, form, goes_on=bool(before))
    begins_twice = prompt.ids[:1] == before[:1] == [served.model.info.bos]
    return replace(prompt, ids=before + prompt.ids[begins_twice:])


async def _chat_prompt(
    request: Request,
    body: Body,
    served: Served,
    messages: list[dict[str, Any]],
    variables: Mapping[str, Any],
    form: Form | None,
    goes_on: bool = False,
) -> Prompt:
    """The prompt of messages, with what is remembered of the user. `goes_on`: something was asked before."""
    recalled = await remembering.recall(request, body, server_of(request), served, messages, project_of(request))
    if recalled is None:
        return Prompt(*await questions.chat_prompt(served, messages, variables), form)
    form = form if goes_on else remembering.form_of(recalled, form, variables.get("tools"))
    return Prompt(*await questions.chat_prompt(served, recalled.into(messages), variables), form, recalled)


def _message(body: Body, number: int, message: object) -> dict[str, Any]:
    """A message as templates take it."""
    place = f"messages[{number}]"
    if not isinstance(message, dict):
        body.refuse(place, f"must be an object, is {kind(message)}")
    plain = {key: value for key, value in message.items() if value not in (None, [])}
    if not isinstance(plain.get("role"), str):
        body.refuse(f"{place}.role", "is missing; it is system, user, assistant or tool")
    if not isinstance(plain.setdefault("content", ""), str):
        body.refuse(f"{place}.content", f"must be text, is {kind(plain['content'])}")
    if "images" in plain:
        body.refuse(f"{place}.images", "are not supported: this server answers text alone")
    for name in ("thinking", "tool_name", "tool_call_id"):
        if not isinstance(plain.get(name, ""), str):
            body.refuse(f"{place}.{name}", f"must be text, is {kind(plain[name])}")
    questions.check_calls(body, place, plain)
    if (tool := plain.pop("tool_name", None)) is not None:
        plain.setdefault("name", tool)
    return plain


def _thinking(body: Body, served: Served) -> dict[str, Any]:
    """The template's variables for `think`: a flag, a level, or absent, which leaves it to the template."""
    think = body.get("think")
    if think is None:
        return {}
    if not isinstance(think, bool) and think not in _LEVELS:
        body.refuse("think", f"is {think!r}, must be true, false or one of {', '.join(_LEVELS)}")
    if think and not served.uses_thinking:
        body.refuse("think", f"is not supported: {served.name!r} does not support thinking")
    return {"enable_thinking": bool(think)} | ({"reasoning_effort": think} if isinstance(think, str) else {})


async def _ask(
    request: Request,
    body: Body,
    served: Served,
    prompt: Prompt,
    options: Options,
    parser: Callable[[], AnswerParser] | None,
) -> Ask:
    top = questions.n_top_logprobs(body)
    values = options.values | {"top_logprobs": top or 0, "template_time": prompt.now}
    values = await constraining.options(values, prompt.form, served, prompt.ids if parser else None)
    n_tokens = options.n_predict or max(1, served.context - len(prompt.ids) + 1)
    ask = questions.ask_of(request, body, served, prompt.ids, n_tokens, values, parser)
    ask = await questions.with_adapter(request, body, ask)
    return ask if prompt.recalled is None else remembering.told(request, server_of(request), ask, prompt.recalled)


def _wanted(body: Body, ask: Ask, options: Options, *, is_chat: bool, remembers: bool) -> Wanted:
    stream, logprobs = body.flag("stream", True), body.flag("logprobs")
    headers = questions.ignored(body, *options.ignored)
    return Wanted(ask.served, ask, is_chat, stream, logprobs, remembers, headers)


def _loaded(served: Served, body: Body, *, is_chat: bool) -> Response:
    """Nothing is asked: the model is loaded now, or goes as soon as nobody uses it (keep_alive 0)."""
    reason = "unload" if keep_alive(body) == 0 else "load"
    head = _head(served)
    line = head | _said(is_chat, content="") | {"done": True, "done_reason": reason}
    body.flag("stream", True)
    return JSONResponse(line, headers=questions.ignored(body))


def _head(served: Served) -> dict[str, Any]:
    return {"model": served.name, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _said(is_chat: bool, content: str, thinking: str = "", calls: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A step's or an answer's text in the members that its API has."""
    more: dict[str, Any] = {"thinking": thinking} if thinking else {}
    if calls:
        more["tool_calls"] = calls
    return {"message": {"role": "assistant", "content": content} | more} if is_chat else {"response": content} | more


async def _answer(request: Request, wanted: Wanted) -> Response:
    server = server_of(request)
    if wanted.stream:
        return await streamed(
            request,
            _lines(server, wanted),
            lambda failure: _line({"error": failure.message}),
            kind="application/x-ndjson",
            heartbeat=b"",  # clients read every line as JSON
            headers=wanted.headers,
        )
    whole, digest = await until_gone(request, _whole(server, wanted))
    return JSONResponse(whole, headers={**wanted.headers, "flyball-digest": digest})


def _line(value: object) -> bytes:
    return dumps(value) + b"\n"


async def _lines(server: Server, wanted: Wanted) -> AsyncIterator[bytes]:
    async with aclosing(_steps(server, wanted)) as steps:
        async for step in steps:
            yield _line(step)


async def _whole(server: Server, wanted: Wanted) -> tuple[dict[str, Any], str]:
    """The lines of a stream in one."""
    content, thinking = "", ""
    calls: list[dict[str, Any]] = []
    logprobs: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    async for last in _steps(server, wanted):
        said = last.get("message", last)
        content += said.get("content", said.get("response", ""))
        thinking += said.get("thinking", "")
        calls += said.get("tool_calls", [])
        logprobs += last.get("logprobs", [])
    whole = last | _said(wanted.is_chat, content, thinking, calls)
    return whole | ({"logprobs": logprobs} if wanted.logprobs else {}), last["flyball"]["digest"]


async def _steps(server: Server, wanted: Wanted) -> AsyncGenerator[dict[str, Any], None]:
    """What each line says: what a step adds; and last why the answer ended, with its counts and times."""
    async with Answering(server, wanted.ask) as answer:
        held = answers.Logprobs(wanted.served)
        n_calls = 0
        async for part in answer:
            held.take(part.piece if wanted.logprobs else None)
            deltas = part.deltas
            if answer.parser is None and part.piece is not None and part.piece.text:
                deltas = (Delta(content=part.piece.text),)
            for delta in deltas:
                yield _head(wanted.served) | _step(wanted, delta, n_calls, held)
                n_calls += delta.tool_call is not None
        yield _head(wanted.served) | _last(wanted, answer)


def _step(wanted: Wanted, delta: Delta, n_calls: int, held: answers.Logprobs) -> dict[str, Any]:
    content, calls = delta.content, []
    if delta.tool_call is not None:
        try:
            calls = [_call(delta.tool_call, n_calls)]
        except InvalidArgument:  # Ollama's clients take objects alone
            content = delta.tool_call.json
    logprobs = {}
    if wanted.logprobs and delta.content:
        logprobs = {"logprobs": held.give(delta.content)}
    elif wanted.logprobs:
        held.drop()
    return _said(wanted.is_chat, content, delta.reasoning_content, calls) | {"done": False} | logprobs


def _call(call: ToolCall, number: int) -> dict[str, Any]:
    return {"id": call.id, "function": {"index": number, "name": call.name, "arguments": dict(call.mapping)}}


def _last(wanted: Wanted, answer: Answering) -> dict[str, Any]:
    result, times = answer.result, answer.times
    metrics = result.metrics
    waited = (times.begun or times.asked) - times.asked
    last = _said(wanted.is_chat, "") | {
        "done": True,
        "done_reason": answers.finish_reason(result),
        "total_duration": _ns(time.monotonic() - times.asked),
        "load_duration": _ns(waited),
        "prompt_eval_count": len(result.prompt),
        "prompt_eval_duration": _ns(metrics.prefill.seconds),
        "eval_count": len(result.tokens),
        "eval_duration": _ns(metrics.decode.seconds),
        "flyball": answers.proof(answer),
    }
    return last | ({"context": [*result.prompt, *result.tokens]} if wanted.remembers else {})


def _ns(seconds: float) -> int:
    """Nanoseconds; never 0, which clients divide by."""
    return max(1, round(seconds * 1e9))


routes = [
    Route("/api/chat", chat, methods=["POST"]),
    Route("/api/generate", generate, methods=["POST"]),
]
