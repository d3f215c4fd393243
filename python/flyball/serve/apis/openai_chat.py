"""OpenAI's /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...answers.parts import Delta, ToolCall
from .. import answers, constraining, questions
from ..answering import Answering, Ask
from ..bodies import Body
from ..models import Served
from ..plugin_rounds import Asking, Rounds, Turns
from ..questions import project_of, server_of
from ..resuming import Numbered, Origin
from ..server import Server
from ..streams import DONE, Chunks, event, merged, streamed, until_gone

_REFUSED = {
    "audio": "is not supported: answers are text",
    "web_search_options": "is not supported: this server fetches nothing",
    "functions": "is the old form; use tools",
    "function_call": "is the old form; use tool_choice",
}


@dataclass(frozen=True)
class Wanted:
    """What a chat request asks for beside the answer itself."""

    served: Served
    origin: Origin
    asks: list[Ask]
    stream: bool
    usage: bool
    logprobs: bool
    timings: bool
    verbose: bool  # with the prompt as the template made it
    headers: Mapping[str, str]
    asking: Asking | None = None  # of plugins

    def answering(self, server: Server, ask: Ask) -> Answering | Rounds:
        """The reader of an answer."""
        return Answering(server, ask) if self.asking is None else Rounds(server, ask, self.asking)


async def completions(request: Request) -> Response:
    """POST /v1/chat/completions"""
    server = server_of(request)
    wanted = await read(request, server)
    if wanted.stream:
        chunks = _chunks(server, wanted)
        return await streamed(request, chunks, lambda failure: event(failure.openai()), headers=wanted.headers)
    finished = await until_gone(request, _all(server, wanted))
    return JSONResponse(
        _whole(server, wanted, finished),
        headers={**wanted.headers, "flyball-digest": finished[0].answer.result.digest},
    )


async def read(request: Request, server: Server) -> Wanted:
    """The question of a request; Failure for what cannot be answered."""
    body = await questions.body_of(request, server)
    body.refuse_all(_REFUSED)
    plan = await server.plugins.plan(request, body, project_of(request), questions.intents_of(server, body))
    body = body if plan is None else plan.into(body)
    served = await questions.model_of(request, body)
    messages = questions.plain_messages(body)
    tools, forced = read_tools(body)
    form = constraining.calling(constraining.of_openai(body), tools, forced, one_call(body))
    options = questions.sampling(body, server)
    top = questions.n_top_logprobs(body)
    options["top_logprobs"] = top or 0
    stream, options_of_stream = body.flag("stream"), body.inside("stream_options")
    if options_of_stream and not stream:
        body.refuse("stream_options", "needs stream: true")
    messages, begun = questions.continued(body, served, messages)
    bounds = ("max_completion_tokens", "max_tokens", "n_predict")
    origin = Origin.of(request) if plan is None else replace(Origin.of(request), told=None)  # nobody goes on with it
    names = questions.variables(body, tools)
    ask = await questions.ask_chat(request, body, served, messages, names, options, bounds, begun, origin, form)
    asking = None

    async def again(turns: Turns, number: int, is_last: bool) -> Ask:
        assert plan is not None
        left = plan.without(tools) if is_last else tools
        form = constraining.calling(constraining.of_openai(body), left, [], one_call(body))
        names = questions.variables(body, left)
        seeded = options | {"seed": ask.options["seed"]}
        return await questions.ask_chat(
            request, body, served, [*messages, *turns], names, seeded, bounds, (), origin.of_round(number), form
        )

    if plan is not None:
        asking = Asking(plan, questions.last_words(messages), again)
    return Wanted(
        served,
        origin,
        questions.choices(ask, questions.n_choices(body)),
        stream,
        usage=bool(options_of_stream and options_of_stream.flag("include_usage")),
        logprobs=top is not None,
        timings=body.flag("timings_per_token"),
        verbose=body.flag("verbose"),
        headers=questions.ignored(body, *constraining.not_strict(tools, forced), *constraining.ignored(form, served)),
        asking=asking,
    )


def one_call(body: Body) -> bool:
    """Whether an answer may have one call alone."""
    return not body.flag("parallel_tool_calls", True)


def read_tools(body: Body) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    """The tools that the model may call, none with tool_choice "none"; and those of which it must call one."""
    tools = body.items("tools")
    for number, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            body.refuse(f"tools[{number}]", "must be {type: function, function: {name, parameters}}")
    choice = body.get("tool_choice", "auto")
    if choice == "none":
        return [], []
    if choice == "auto":
        return tools, []
    if choice == "required":
        return tools, constraining.named(body, tools, None)
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        body.refuse("tool_choice", "must be auto, none, required or {type: function, function: {name}}")
    return tools, constraining.named(body, tools, name)


@dataclass
class Finished:
    """A whole answer, with the log-probabilities of its content."""

    answer: Answering | Rounds
    logprobs: list[dict[str, Any]]


async def _all(server: Server, wanted: Wanted) -> list[Finished]:
    """All answers, computed beside each other."""
    finished: dict[int, Finished] = {}
    async for number, one in merged([_one(server, ask, wanted) for ask in wanted.asks]):
        finished[number] = one
    return [finished[number] for number in range(len(wanted.asks))]


async def _one(server: Server, ask: Ask, wanted: Wanted) -> AsyncIterator[Finished]:
    entries: list[dict[str, Any]] = []
    async with wanted.answering(server, ask) as answer:
        held = answers.Logprobs(ask.served)
        async for part in answer:
            if wanted.logprobs:
                held.take(part.piece)
                entries += _entries(held, part.deltas)
        yield Finished(answer, entries)


def _entries(held: answers.Logprobs, deltas: Sequence[Delta]) -> list[dict[str, Any]]:
    content = "".join(delta.content for delta in deltas)
    if content:
        return held.give(content)
    if deltas:
        held.drop()
    return []


def _whole(server: Server, wanted: Wanted, finished: Sequence[Finished]) -> dict[str, Any]:
    results = [one.answer.result for one in finished]
    return {
        "id": f"chatcmpl-{wanted.asks[0].id}",
        "object": "chat.completion",
        "created": wanted.origin.created,
        "model": wanted.served.name,
        "system_fingerprint": server.system_fingerprint(wanted.served, wanted.asks[0].adapter),
        "choices": [_choice(number, one, wanted.logprobs) for number, one in enumerate(finished)],
        "usage": _usage([one.answer for one in finished]),
        "timings": answers.timings(results[0]),
        "flyball": _proof(finished[0].answer),
    } | _verbose(wanted)


def _usage(finished: Sequence[Answering | Rounds]) -> dict[str, Any]:
    first = finished[0]  # the only one where plugins are called
    return first.usage if isinstance(first, Rounds) else answers.usage([each.result for each in finished])


def _proof(answer: Answering | Rounds) -> dict[str, Any]:
    return answers.proof(answer) | (answer.told if isinstance(answer, Rounds) else {})


def _verbose(wanted: Wanted) -> dict[str, Any]:
    """llama-server's member for whoever looks for the prompt of a chat."""
    prompt = wanted.asks[0].prompt
    return {"__verbose": {"prompt": wanted.served.model.detokenize(prompt, special=True)}} if wanted.verbose else {}


def _choice(number: int, one: Finished, logprobs: bool) -> dict[str, Any]:
    assert one.answer.parser is not None
    said = one.answer.parser.answer
    message: dict[str, Any] = {"role": "assistant", "content": said.content}
    if said.reasoning_content:
        message |= {"reasoning_content": said.reasoning_content, "reasoning": said.reasoning_content}
    if said.tool_calls:
        message["tool_calls"] = [call_as_dict(call) for call in said.tool_calls]
        message["content"] = said.content or None
    return {
        "index": number,
        "message": message,
        "finish_reason": answers.finish_reason(one.answer.result, bool(said.tool_calls)),
        "logprobs": {"content": one.logprobs} if logprobs else None,
    } | ({"flyball": answers.proof(one.answer)} if number else {})


def call_as_dict(call: ToolCall) -> dict[str, Any]:
    """A call as OpenAI's clients want it."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.json}}


async def _chunks(server: Server, wanted: Wanted) -> AsyncIterator[bytes]:
    """The events of a stream: per choice its role, its deltas, its end; then usage."""
    head = {
        "id": f"chatcmpl-{wanted.asks[0].id}",
        "object": "chat.completion.chunk",
        "created": wanted.origin.created,
        "model": wanted.served.name,
        "system_fingerprint": server.system_fingerprint(wanted.served, wanted.asks[0].adapter),
    }
    finished: dict[int, Answering | Rounds] = {}
    streams = [_choice_chunks(server, ask, number, wanted, finished) for number, ask in enumerate(wanted.asks)]
    numbered = Numbered(wanted.origin, wanted.asks[0].options["seed"])
    chunks = Chunks(head, numbered.event)
    async for _, chunk in merged(streams):
        (choice,) = chunk["choices"]
        yield chunks.give(chunk, hold="role" in choice["delta"] or choice["finish_reason"] is not None)
    more = {"timings": answers.timings(finished[0].result), "flyball": _proof(finished[0])}
    more |= _verbose(wanted)
    ended = [finished[number] for number in range(len(wanted.asks))]
    usage = [{}, {"choices": [], "usage": _usage(ended)} | more] if wanted.usage else [more]
    yield chunks.last(*usage) + DONE


async def _choice_chunks(
    server: Server, ask: Ask, number: int, wanted: Wanted, finished: dict[int, Answering | Rounds]
) -> AsyncIterator[dict[str, Any]]:
    def chunk(
        delta: dict[str, Any], reason: str | None = None, entries: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        logprobs = {"content": entries} if entries else None
        return {"choices": [{"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]}

    async with wanted.answering(server, ask) as answer:
        yield chunk({"role": "assistant", "content": None})
        held = answers.Logprobs(ask.served)
        has_calls = False
        async for part in answer:
            if wanted.logprobs:
                held.take(part.piece)
            for delta in part.deltas:
                has_calls = has_calls or delta.tool_call is not None
                entries = _entries(held, (delta,)) if wanted.logprobs else None
                for members in deltas_as_dicts(delta):
                    yield chunk(members, entries=entries)
        finished[number] = answer
        yield chunk({}, answers.finish_reason(answer.result, has_calls))


def deltas_as_dicts(delta: Delta) -> list[dict[str, Any]]:
    """The deltas of a chunk's choice: of a call first its name, then its arguments."""
    if delta.tool_call is not None:
        call = delta.tool_call
        begin = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        return [
            {"tool_calls": [{"index": delta.index} | begin]},
            {"tool_calls": [{"index": delta.index, "function": {"arguments": call.json}}]},
        ]
    if delta.reasoning_content:
        return [{"reasoning_content": delta.reasoning_content, "reasoning": delta.reasoning_content}]
    return [{"content": delta.content}]


routes = [
    Route("/v1/chat/completions", completions, methods=["POST"]),
    Route("/chat/completions", completions, methods=["POST"]),
]
