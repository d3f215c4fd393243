"""OpenAI's /v1/completions: text or ids in, text out; with `echo` also how likely the prompt is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...engine.results import Score, TopLogprob
from ...errors import Error
from .. import answers, constraining, questions
from ..answering import Answering, Ask, prepare
from ..bodies import Body
from ..failures import Failure
from ..models import Served
from ..prompts import prompts_of
from ..questions import server_of
from ..resuming import Numbered, Origin
from ..server import Server
from ..streams import DONE, Chunks, event, merged, streamed, until_gone

_MOST_PROMPTS = 1024
_MOST_LOGPROBS = 20
_REFUSED = {"suffix": "is not supported: the model has no tokens for filling in"}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for. `top`: the likeliest tokens to tell with each; None: no log-probabilities."""

    served: Served
    origin: Origin
    asks: list[Ask]
    echo: bool
    score_only: bool  # max_tokens 0
    top: int | None
    usage: bool


async def completions(request: Request) -> Response:
    """POST /v1/completions"""
    server = server_of(request)
    body = await questions.body_of(request, server)
    body.refuse_all(_REFUSED)
    wanted = await _read(request, server, body)
    head = {
        "id": f"cmpl-{wanted.asks[0].id}",
        "object": "text_completion",
        "created": wanted.origin.created,
        "model": wanted.served.name,
        "system_fingerprint": server.system_fingerprint(wanted.served, wanted.asks[0].adapter),
    }
    headers = questions.ignored(body)
    if body.flag("stream"):
        chunks = _chunks(server, wanted, head)
        return await streamed(request, chunks, lambda failure: event(failure.openai()), headers=headers)
    finished = await until_gone(request, _all(server, wanted))
    results = [one.answer.result for one in finished if one.answer is not None]
    whole = head | {"choices": [_choice(wanted, number, one) for number, one in enumerate(finished)]}
    whole["usage"] = _usage(finished)
    if results and finished[0].answer is not None:
        whole |= {"timings": answers.timings(results[0]), "flyball": answers.proof(finished[0].answer)}
        headers["flyball-digest"] = results[0].digest
    return JSONResponse(whole, headers=headers)


async def _read(request: Request, server: Server, body: Body) -> Wanted:
    served = await questions.model_of(request, body)
    options = questions.sampling(body, server)
    n = questions.n_choices(body)
    if body.integer("best_of", 1, questions.MOST_CHOICES, n) != n:
        body.refuse("best_of", "must be n: this server gives every answer that it computes")
    top = body.integer("logprobs", 0, _MOST_LOGPROBS)
    options["top_logprobs"] = top or 0
    options = await constraining.options(options, constraining.of_openai(body), served)
    echo = body.flag("echo")
    score_only = echo and body.get("max_tokens") == 0
    asks: list[Ask] = []
    origin = Origin.of(request)
    prompts, _ = await prompts_of(served, body, "prompt", _MOST_PROMPTS)
    for prompt in prompts:
        n_tokens = 1 if score_only else questions.max_tokens(
            body, ("max_tokens", "max_completion_tokens", "n_predict"), 16, served, len(prompt)
        )  # fmt: skip
        ask = questions.ask_of(request, body, served, prompt, n_tokens, options, origin=origin)
        ask = await questions.with_adapter(request, body, ask)
        prepare(ask)
        asks.append(ask)
    stream_options = body.inside("stream_options")
    asks = [choice for number, ask in enumerate(asks) for choice in questions.choices(_numbered(ask, number), n)]
    return Wanted(
        served, origin, asks, echo, score_only, top, bool(stream_options and stream_options.flag("include_usage"))
    )


def _numbered(ask: Ask, number: int) -> Ask:
    """Of one of several prompts: an id of its own."""
    if not number:
        return ask
    identity = hashlib.sha256(f"{ask.id}:{number}".encode()).hexdigest()[: len(ask.id)]
    return replace(ask, id=identity, idempotency_key="", told=None)


@dataclass
class Finished:
    """An answer, or the prompt's score alone; and with `echo` the prompt's score."""

    ask: Ask
    answer: Answering | None = None
    score: Score | None = None
    offset: int = field(default=0, repr=False)


async def _all(server: Server, wanted: Wanted) -> list[Finished]:
    finished: dict[int, Finished] = {}
    async for number, one in merged([_one(server, wanted, ask) for ask in wanted.asks]):
        finished[number] = one
    return [finished[number] for number in range(len(wanted.asks))]


async def _one(server: Server, wanted: Wanted, ask: Ask) -> AsyncIterator[Finished]:
    one = Finished(ask)
    if wanted.echo and wanted.top is not None:
        one.score = await _score(server, ask, wanted.top)
    if not wanted.score_only:
        async with Answering(server, ask) as answer:
            await answer.whole()
            one.answer = answer
    yield one


async def _score(server: Server, ask: Ask, top: int) -> Score:
    """How likely the prompt is. It goes on in its thread until the next call when the client has gone."""
    gone = False

    def progress(phase: str, done: int, total: int) -> None:
        if gone:
            raise Failure(503, "the client is gone")

    adapter, scale = ask.options.get("adapter"), ask.options.get("adapter_scale", 1.0)
    async with server.side_work:
        try:
            session = ask.served.model.session(adapter=adapter, adapter_scale=scale)
            return await asyncio.to_thread(session.score, ask.prompt, top, progress=progress)
        except Error as error:
            raise Failure.of(error) from None
        finally:
            gone = True


def _choice(wanted: Wanted, number: int, one: Finished) -> dict[str, Any]:
    text = wanted.served.model.detokenize(one.ask.prompt) if wanted.echo else ""
    reason = "length"
    if one.answer is not None:
        text += one.answer.result.text
        reason = answers.finish_reason(one.answer.result)
    choice: dict[str, Any] = {"index": number, "text": text, "finish_reason": reason, "logprobs": None}
    if wanted.top is not None:
        choice["logprobs"] = _logprobs(wanted, one)
    if number and one.answer is not None:
        choice["flyball"] = answers.proof(one.answer)
    return choice


def _logprobs(wanted: Wanted, one: Finished) -> dict[str, Any]:
    """The old form: parallel lists. The first token of an echoed prompt follows nothing and has null."""
    model = wanted.served.model
    tokens: list[int] = []
    logprobs: list[float | None] = []
    tops: list[Sequence[TopLogprob] | None] = []
    if one.score is not None:
        tokens += one.score.tokens
        logprobs += [None, *one.score.logprobs]
        tops += [None, *(one.score.top_logprobs or [()] * (len(one.score.tokens) - 1))]
    if one.answer is not None:
        result = one.answer.result
        tokens += result.tokens
        logprobs += result.logprobs
        tops += result.top_logprobs or [()] * len(result.tokens)
    texts = [model.detokenize([token], special=True) for token in tokens]
    offsets = [sum(map(len, texts[:i])) for i in range(len(texts))] if len(texts) < 2 else _running(texts)
    return {
        "tokens": texts,
        "token_logprobs": logprobs,
        "top_logprobs": [None if top is None else {each.text: each.logprob for each in top} for top in tops],
        "text_offset": offsets,
    }


def _running(texts: Sequence[str]) -> list[int]:
    offsets, at = [], 0
    for text in texts:
        offsets.append(at)
        at += len(text)
    return offsets


def _usage(finished: Sequence[Finished]) -> dict[str, Any]:
    prompts = {id(one.ask.prompt): one for one in finished}
    prompt = sum(len(one.ask.prompt) for one in prompts.values())
    results = [one.answer.result for one in finished if one.answer is not None]
    generated = sum(len(result.tokens) for result in results)
    cached = sum(result.metrics.cached_tokens for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


async def _chunks(server: Server, wanted: Wanted, head: dict[str, Any]) -> AsyncIterator[bytes]:
    finished: dict[int, Finished] = {}
    streams = [_choice_chunks(server, wanted, number, ask, finished) for number, ask in enumerate(wanted.asks)]
    numbered = Numbered(wanted.origin, wanted.asks[0].options["seed"])
    chunks = Chunks(head, numbered.event)
    async for _, chunk in merged(streams):
        yield chunks.give(chunk, hold=chunk["choices"][0]["finish_reason"] is not None)
    ordered = [finished[number] for number in range(len(wanted.asks))]
    more: dict[str, Any] = {}
    if (answer := ordered[0].answer) is not None:
        more = {"timings": answers.timings(answer.result), "flyball": answers.proof(answer)}
    usage = [{}, {"choices": [], "usage": _usage(ordered)} | more] if wanted.usage else [more]
    yield chunks.last(*usage) + DONE


async def _choice_chunks(
    server: Server, wanted: Wanted, number: int, ask: Ask, finished: dict[int, Finished]
) -> AsyncIterator[dict[str, Any]]:
    def chunk(text: str, reason: str | None = None, logprobs: object = None) -> dict[str, Any]:
        return {"choices": [{"index": number, "text": text, "finish_reason": reason, "logprobs": logprobs}]}

    one = finished[number] = Finished(ask)
    model = wanted.served.model
    if wanted.echo:
        if wanted.top is not None:
            one.score = await _score(server, ask, wanted.top)
        yield chunk(model.detokenize(ask.prompt), None, _logprobs(wanted, one) if one.score else None)
    if wanted.score_only:
        yield chunk("", "length")
        return
    offset = len(model.detokenize(ask.prompt)) if wanted.echo else 0
    async with Answering(server, ask) as answer:
        async for part in answer:
            piece = part.piece
            if piece is None or piece.token is None:
                if piece is not None and piece.text:
                    yield chunk(piece.text)
                continue
            logprobs = None
            if wanted.top is not None:
                text = model.detokenize([piece.token], special=True)
                logprobs = {
                    "tokens": [text],
                    "token_logprobs": [piece.logprob],
                    "top_logprobs": [{each.text: each.logprob for each in piece.top_logprobs}],
                    "text_offset": [offset],
                }
                offset += len(text)
            if piece.text or logprobs:
                yield chunk(piece.text, None, logprobs)
        one.answer = answer
        yield chunk("", answers.finish_reason(answer.result))


routes = [Route("/v1/completions", completions, methods=["POST"])]
