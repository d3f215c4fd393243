"""llama-server's /completion: prompts as a program made them, answers with tokens, probabilities and timings."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...engine.results import Piece, Result
from .. import answers, constraining, questions
from ..answering import Answering, Ask, prepare
from ..bodies import Body, kind
from ..models import Served
from ..prompts import prompts_of
from ..questions import server_of
from ..server import Server
from ..streams import event, merged, streamed, until_gone

_MOST_PROMPTS = 1024
_MOST_PROBABILITIES = 128
_MOST_BIAS = 10_000  # the core has the same bound

# Samplers that this server lacks: what each is where it does nothing. Clients send them all with these values.
_NEUTRAL = {
    "mirostat": (0,), "dry_multiplier": (0,), "xtc_probability": (0,), "typical_p": (1,), "dynatemp_range": (0,),
    "top_n_sigma": (-1, 0), "adaptive_target": (-1,), "n_cmpl": (1,),
}  # fmt: skip
_REFUSED = {
    "post_sampling_probs": "is not supported: probabilities are those of the model, before the samplers",
    "n_keep": "is not supported: a context that is full ends the answer",
    "image_data": "is not supported: this server answers text alone",
}
_STOP_TYPES = {"eos": "eos", "stop_token": "eos", "stop_string": "word"}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for. `stops`: its stop texts; `n_top`: probabilities with each token."""

    served: Served
    asks: list[Ask]
    many: bool
    stops: list[str]
    n_predict: int
    n_top: int
    tokens: bool
    timings: bool
    fields: list[str]

    @property
    def prompt_only(self) -> bool:
        """Only compute the prompt, so that a later request finds it in the cache."""
        return self.n_predict == 0


async def completion(request: Request) -> Response:
    """POST /completion"""
    server = server_of(request)
    server.refuse_if_draining()
    server.queue.refuse_if_full(int(request.headers.get("content-length", 0)) // 4)
    body = await Body.of(request)
    wanted = await _read(request, server, body)
    stream = body.flag("stream")
    headers = questions.ignored(body)
    if stream:
        chunks = _chunks(server, wanted)
        return await streamed(request, chunks, lambda failure: event(failure.openai()), headers=headers)
    finished = await until_gone(request, _all(server, wanted))
    if not wanted.prompt_only:
        headers["flyball-digest"] = finished[0].result.digest
    bodies = [_picked(_final(wanted, number, one, wanted.tokens), wanted.fields) for number, one in enumerate(finished)]
    return JSONResponse(bodies if wanted.many else bodies[0], headers=headers)


async def _read(request: Request, server: Server, body: Body) -> Wanted:
    body.refuse_all(_REFUSED)
    _refuse_samplers(body)
    served = await questions.model_of(request, body)
    options = questions.sampling(body, server, partial(biases, served))
    options = await constraining.options(options, constraining.of_llama(body), served)
    options["top_logprobs"] = n_top = body.integer("n_probs", 0, _MOST_PROBABILITIES, 0) or 0
    name = next((name for name in ("n_predict", "max_tokens") if body.has(name)), "n_predict")
    n_predict = body.integer(name, -2, 2**31 - 1, server.settings.max_tokens)
    assert n_predict is not None
    prompts, many = await prompts_of(
        served, body, "prompt", _MOST_PROMPTS, parse_special=body.flag("parse_special", True)
    )
    asks = []
    for prompt in prompts:
        n_tokens = n_predict if n_predict > 0 else 1 if n_predict == 0 else max(1, served.context - len(prompt) + 1)
        ask = questions.ask_of(request, body, served, prompt, n_tokens, options)
        ask = await questions.with_adapter(request, body, ask)
        prepare(ask)
        asks.append(ask if n_predict else replace(ask, cacheable=False))  # the prompt shall be computed
    return Wanted(
        served,
        asks,
        many,
        list(options["stop"]),
        n_predict,
        n_top,
        tokens=body.flag("return_tokens"),
        timings=body.flag("timings_per_token"),
        fields=body.texts("response_fields"),
    )


def _refuse_samplers(body: Body) -> None:
    for name, neutral in _NEUTRAL.items():
        value = body.get(name, neutral[0])
        if isinstance(value, bool) or not isinstance(value, int | float) or value not in neutral:
            body.refuse(name, f"is {value!r}: this server has no such sampler; {neutral[0]} is none")


def biases(served: Served, body: Body) -> dict[int, float]:
    """logit_bias as llama-server takes it: ids or texts, each of whose tokens counts; false bans."""
    given = body.get("logit_bias", [])
    pairs = [list(pair) for pair in given.items()] if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        body.refuse("logit_bias", f"must be a list of pairs or an object, is {kind(given)}")
    found: dict[int, float] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            body.refuse("logit_bias", "must have pairs of a token (its id or its text) and a number or false")
        token, bias = pair
        if bias is False:
            bias = -math.inf
        elif isinstance(bias, bool) or not isinstance(bias, int | float) or not -_MOST_BIAS <= bias <= _MOST_BIAS:
            body.refuse("logit_bias", f"of {token!r} is {bias!r}, must be a number up to {_MOST_BIAS:g}, or false")
        for each in _biased(served, body, token, isinstance(given, dict)):
            found[each] = float(bias)
    return found


def _biased(served: Served, body: Body, token: object, digits_are_ids: bool) -> list[int]:
    if type(token) is int:
        return [token]
    if not isinstance(token, str):
        body.refuse("logit_bias", f"has the token {token!r}, must be an id or text")
    if digits_are_ids and token.isascii() and token.isdigit() and len(token) < 20:
        return [int(token)]
    return served.model.tokenize(token, add_special=False)


async def _all(server: Server, wanted: Wanted) -> list[Answering]:
    finished: dict[int, Answering] = {}
    async for number, one in merged([_whole(server, ask) for ask in wanted.asks]):
        finished[number] = one
    return [finished[number] for number in range(len(wanted.asks))]


async def _whole(server: Server, ask: Ask) -> AsyncIterator[Answering]:
    async with Answering(server, ask) as answer:
        await answer.whole()
        yield answer


async def _chunks(server: Server, wanted: Wanted) -> AsyncIterator[bytes]:
    """The events of a stream. The final one of each prompt has what an answer in one piece has; none is [DONE]."""
    async for _, chunk in merged([_parts(server, wanted, number, ask) for number, ask in enumerate(wanted.asks)]):
        yield event(chunk)


async def _parts(server: Server, wanted: Wanted, number: int, ask: Ask) -> AsyncIterator[dict[str, Any]]:
    head = {"index": number, "id_slot": number, "stop": False, "tokens_evaluated": len(ask.prompt)}
    n_tokens = 0
    async with Answering(server, ask) as answer:
        async for part in answer:
            piece = part.piece
            if piece is None or wanted.prompt_only:
                continue
            n_tokens += piece.token is not None
            chunk = head | {"content": piece.text, "tokens": [] if piece.token is None else [piece.token]}
            chunk["tokens_predicted"] = n_tokens
            if wanted.n_top and piece.token is not None:
                chunk["completion_probabilities"] = [_probability(wanted.served, piece)]
            yield chunk
        yield _picked(_final(wanted, number, answer, False) | {"content": ""}, wanted.fields)


def _final(wanted: Wanted, number: int, answer: Answering, tokens: bool) -> dict[str, Any]:
    result, ask = answer.result, answer.ask
    generated = () if wanted.prompt_only else result.tokens
    text = "" if wanted.prompt_only else result.text
    whole: dict[str, Any] = {
        "index": number,
        "content": text,
        "tokens": list(generated) if tokens else [],
        "id_slot": number,
        "stop": True,
        "model": wanted.served.name,
        "tokens_predicted": len(generated),
        "tokens_evaluated": len(ask.prompt),
        "generation_settings": settings(wanted.served, ask.options, wanted.n_predict, result.seed),
        "prompt": wanted.served.model.detokenize(ask.prompt, special=True),
        "has_new_line": "\n" in text,
        "truncated": result.stop_reason == "context_full"
        or (wanted.n_predict < 0 and result.stop_reason == "max_tokens"),
        "stop_type": "limit" if wanted.prompt_only else _STOP_TYPES.get(result.stop_reason, "limit"),
        "stopping_word": _stopping_word(wanted, result),
        "tokens_cached": len(ask.prompt) + len(generated),
        "timings": answers.timings(result) | ({"predicted_n": 0} if wanted.prompt_only else {}),
    }
    if wanted.prompt_only:
        return whole
    if wanted.n_top:
        whole["completion_probabilities"] = [
            _probability(wanted.served, Piece("", token, logprob, top))
            for token, logprob, top in zip(result.tokens, result.logprobs, result.top_logprobs, strict=True)
        ]
    return whole | {"flyball": answers.proof(answer)}


def settings(served: Served, options: dict[str, Any], n_predict: int, seed: int | None) -> dict[str, Any]:
    """generate()'s options under llama-server's names."""
    constraint = options.get("constraint")
    biased = dict(options.get("logit_bias") or {})
    if options.get("ignore_eos"):
        biased |= dict.fromkeys(served.end_tokens, -math.inf)
    return {
        "seed": seed,
        "temperature": options["temperature"],
        "top_k": options["top_k"],
        "top_p": options["top_p"],
        "min_p": options["min_p"],
        "repeat_last_n": options.get("repeat_window", 64),
        "repeat_penalty": options.get("repeat_penalty", 1.0),
        "presence_penalty": options.get("presence_penalty", 0.0),
        "frequency_penalty": options.get("frequency_penalty", 0.0),
        "stop": list(options.get("stop", ())),
        "max_tokens": n_predict,
        "n_predict": n_predict,
        "ignore_eos": bool(options.get("ignore_eos")),
        "n_probs": options.get("top_logprobs", 0),
        "logit_bias": [
            {"token": token, "bias": bias if math.isfinite(bias) else None} for token, bias in biased.items()
        ],
        "grammar": constraint.text if constraint is not None and constraint.kind == "gbnf" else "",
        "adaptive_decay": 0.0,
    } | {name: neutral[0] for name, neutral in _NEUTRAL.items()}


def _stopping_word(wanted: Wanted, result: Result) -> str:
    if result.stop_reason != "stop_string":
        return ""
    behind = wanted.served.model.detokenize(result.tokens)[len(result.text) :]
    return next((stop for stop in wanted.stops if behind.startswith(stop)), "")


def _probability(served: Served, piece: Piece) -> dict[str, Any]:
    assert piece.token is not None
    tops = [_entry(served, top.token, top.logprob) for top in piece.top_logprobs]
    return _entry(served, piece.token, piece.logprob) | {"top_logprobs": tops}


def _entry(served: Served, token: int, logprob: float) -> dict[str, Any]:
    raw = served.model.detokenize_bytes([token], special=True)
    return {"id": token, "token": raw.decode("utf-8", "replace"), "bytes": list(raw), "logprob": logprob}


def _picked(whole: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Only these members, each under its path: generation_settings/n_predict."""
    if not fields:
        return whole
    picked = {}
    for path in fields:
        value: Any = whole
        for name in path.split("/"):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            picked[path] = value
    return picked


routes = [Route(path, completion, methods=["POST"]) for path in ("/completion", "/completions")]
