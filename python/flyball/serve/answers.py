"""What the APIs tell of an answer: why it ended, its tokens' probabilities, its digest, its usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..engine.results import Piece, Result, TopLogprob

if TYPE_CHECKING:
    from .answering import Answering
    from .models import Served
    from .plugin_rounds import Rounds

STOPPED = ("eos", "stop_string", "stop_token")


def finish_reason(result: Result, has_calls: bool = False) -> str:
    """OpenAI's word for the reason: stop, length or tool_calls. `flyball.stop_reason` has ours."""
    if result.stop_reason in STOPPED:
        return "tool_calls" if has_calls else "stop"
    return "length"


def stop_text(answering: Answering) -> str | None:
    """Which of the stop texts ended the answer; of those that begin at one place the first one asked for."""
    result, model = answering.result, answering.ask.served.model
    if result.stop_reason != "stop_string":
        return None
    before = result.prompt[-1]  # whether a first space counts depends on it
    whole = model.detokenize_bytes([before, *result.tokens]).removeprefix(model.detokenize_bytes([before]))
    stops: Sequence[str] = answering.ask.options["stop"]
    places = [(at, text) for text in stops if (at := whole.find(text.encode(errors="replace"))) >= 0]
    return min(places, key=lambda place: place[0])[1] if places else None


def usage(results: Sequence[Result]) -> dict[str, Any]:
    """Tokens of the answers to one prompt, as OpenAI counts them."""
    prompt = len(results[0].prompt)
    generated = sum(len(result.tokens) for result in results)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": results[0].metrics.cached_tokens},
    }


def timings(result: Result) -> dict[str, Any]:
    """llama-server's figures of an answer, which some clients show; and cycles."""
    metrics = result.metrics
    prefill, decode = metrics.prefill, metrics.decode
    return {
        "cache_n": metrics.cached_tokens,
        "prompt_n": prefill.tokens,
        "prompt_ms": 1e3 * prefill.seconds,
        "prompt_per_token_ms": 1e3 * prefill.seconds / prefill.tokens if prefill.tokens else 0.0,
        "prompt_per_second": prefill.tokens_per_second or 0.0,
        "predicted_n": len(result.tokens),
        "predicted_ms": 1e3 * decode.seconds,
        "predicted_per_token_ms": 1e3 * decode.seconds / decode.tokens if decode.tokens else 0.0,
        "predicted_per_second": decode.tokens_per_second or 0.0,
        "prompt_cycles_per_token": prefill.cycles_per_token or 0.0,
        "predicted_cycles_per_token": decode.cycles_per_token or 0.0,
    }


def proof(answering: Answering | Rounds) -> dict[str, Any]:
    """The member `flyball` of a response: where the receipt is, and what it must say."""
    result, memory = answering.result, answering.ask.memory
    return {
        "receipt": answering.receipt_id,
        "digest": result.digest,
        "seed": result.seed,
        "stop_reason": result.stop_reason,
        "adapter": answering.ask.adapter,
        **({"adapter_fault": answering.ask.adapter_fault} if answering.ask.adapter_fault else {}),
        **({} if memory is None else {"memory": list(memory)}),
    } | ({} if answering.known is None else {"cached": True})


class Logprobs:
    """Entries of OpenAI's logprobs, held until the text that they belong to is given.

    Their tokens join to the content: tokens of thoughts and tags, which are no content, are dropped.
    """

    def __init__(self, served: Served) -> None:
        self._model = served.model
        self._held: list[tuple[bytes, dict[str, Any]]] = []

    def take(self, piece: Piece | None) -> None:
        """The next token."""
        if piece is not None and piece.token is not None and not self._model.is_end(piece.token):
            raw = self._model.detokenize_bytes([piece.token], special=True)
            entry = _entry(raw, piece.logprob)
            entry["top_logprobs"] = [self._top(top) for top in piece.top_logprobs]
            self._held.append((raw, entry))

    def give(self, content: str) -> list[dict[str, Any]]:
        """The entries of the content that is given now: the last ones that join to it."""
        held, self._held = self._held, []
        wanted = len(content.encode(errors="replace"))
        given: list[dict[str, Any]] = []
        while held and wanted > 0:
            raw, entry = held.pop()
            wanted -= len(raw)
            given.insert(0, entry)
        return given

    def drop(self) -> None:
        """What is held is no content."""
        self._held.clear()

    def _top(self, top: TopLogprob) -> dict[str, Any]:
        return _entry(self._model.detokenize_bytes([top.token], special=True), top.logprob)


def _entry(raw: bytes, logprob: float) -> dict[str, Any]:
    return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}
