"""Log-probabilities of an answer's tokens and of a text's, and logits of the last position: equal bits everywhere."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from tests.python.engine.exactness_matrix import paths

PROMPT = "Once upon a time"
TEXT = "The fox went to the mill and asked for bread."


def log_softmax(rows: np.ndarray) -> np.ndarray:
    x = rows.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    logprobs: np.ndarray = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    return logprobs


def best_ids(row: np.ndarray, n: int) -> list[int]:
    """Ids of the n largest logits; ties go to the smaller id."""
    return [int(i) for i in np.lexsort((np.arange(len(row)), -row))[:n]]


# ---------------------------------------------------------------- of an answer


def test_top_logprobs_by_definition(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    # Settings that change what is drawn do not change them.
    result = demo.generate(ids, 12, seed=3, top_logprobs=5, temperature=1.5, logit_bias={7: 20.0}, repeat_penalty=2)
    rows = demo.logits([*ids, *result.tokens])[len(ids) - 1 : -1]
    assert len(result.top_logprobs) == len(result.tokens) == 12
    for row, expected, token, logprob, top in zip(
        rows, log_softmax(rows), result.tokens, result.logprobs, result.top_logprobs, strict=True
    ):
        assert [entry.token for entry in top] == best_ids(row, 5)
        assert [entry.text for entry in top] == [demo.detokenize([entry.token], special=True) for entry in top]
        assert [entry.logprob for entry in top] == pytest.approx([expected[entry.token] for entry in top], abs=2e-5)
        for entry in top:
            assert entry.token != token or entry.logprob == logprob  # the same bits


def test_they_change_no_answer_and_no_receipt(demo: flyball.Model) -> None:
    plain = demo.generate(PROMPT, 20, seed=1)
    assert plain.top_logprobs == ()
    asked = demo.generate(PROMPT, 20, seed=1, top_logprobs=128)
    assert asked.digest == plain.digest
    assert asked.receipt["schema_version"] == 1
    assert [len(top) for top in asked.top_logprobs] == [128] * 20


def test_at_most_the_vocabulary(small: flyball.Model) -> None:
    assert small.info.n_vocab > 128
    with pytest.raises(flyball.InvalidArgument, match="top_logprobs"):
        small.generate([1, 2], 2, top_logprobs=129)
    with pytest.raises(flyball.InvalidArgument, match="top_logprobs"):
        small.score([1, 2], top_logprobs=129)


def test_control_tokens_have_their_text(demo: flyball.Model) -> None:
    prompt = demo.chat_template().ids([{"role": "user", "content": "What is 3 + 4?"}])
    result = demo.generate(prompt, 100, temperature=0, top_logprobs=1)
    assert result.stop_reason == "eos"
    assert result.top_logprobs[-1][0].text == demo.detokenize([result.tokens[-1]], special=True) != ""


@pytest.mark.parametrize("how", ["stream", "batch", "always", "asyncio", "cached"])
def test_the_same_bits_on_every_path(demo: flyball.Model, how: str) -> None:
    options: dict[str, Any] = {"seed": 2, "top_logprobs": 3, "temperature": 0.5}
    result = demo.generate(PROMPT, 24, **options)
    if how == "stream":
        with demo.stream(PROMPT, 24, **options) as stream:
            pieces = [piece for piece in stream if piece.token is not None]
        assert tuple(piece.top_logprobs for piece in pieces) == result.top_logprobs
        other = stream.result
    elif how == "batch":
        other, *_ = demo.generate_many([PROMPT, "The fox", TEXT], 24, **options)
    elif how == "always":
        other = demo.generate(PROMPT, 24, speculate="always", **options)
    elif how == "asyncio":

        async def streamed() -> flyball.Result:
            stream = demo.astream(PROMPT, 24, **options)
            tops = [piece.top_logprobs async for piece in stream if piece.token is not None]
            assert tuple(tops) == result.top_logprobs
            return stream.result

        other = asyncio.run(streamed())
    else:
        session = demo.session()
        session.generate(PROMPT, 24, **options)
        other = session.generate(PROMPT, 24, **options)
    assert other.top_logprobs == result.top_logprobs
    assert other.logprobs == result.logprobs


# ---------------------------------------------------------------- of a text


def test_score_by_definition(demo: flyball.Model) -> None:
    ids = demo.tokenize(TEXT)
    score = demo.score(TEXT, top_logprobs=4)
    rows = demo.logits(ids)[:-1]
    expected = log_softmax(rows)
    assert list(score.tokens) == ids
    assert score.logprobs == pytest.approx([expected[i, token] for i, token in enumerate(ids[1:])], abs=2e-5)
    for row, top in zip(rows, score.top_logprobs, strict=True):
        assert [entry.token for entry in top] == best_ids(row, 4)
    assert score.total == math.fsum(score.logprobs)
    assert score.perplexity == pytest.approx(math.exp(-np.mean(score.logprobs)))
    assert demo.score(ids).logprobs == score.logprobs
    assert demo.score(ids).top_logprobs == ()


def test_an_answer_scored_has_the_answers_logprobs(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 40, seed=5, top_logprobs=2)
    score = demo.score([*result.prompt, *result.tokens], top_logprobs=2)
    assert score.logprobs[len(result.prompt) - 1 :] == result.logprobs  # the same bits
    assert score.top_logprobs[len(result.prompt) - 1 :] == result.top_logprobs


def test_score_of_one_token_and_of_wrong_input(small: flyball.Model) -> None:
    one = small.score([5], top_logprobs=3)
    assert (one.tokens, one.logprobs, one.top_logprobs, one.total, one.perplexity) == ((5,), (), (), 0, 1)
    with pytest.raises(flyball.InvalidArgument, match="empty"):
        small.score([])
    with pytest.raises(flyball.InvalidArgument, match="token ids go from 0"):
        small.score([1, 10**6])
    with pytest.raises(flyball.InvalidArgument, match="batch"):
        small.score([1, 2], batch=0)
    assert len(small.score([1] * 257).logprobs) == 256  # the last token is not fed
    with pytest.raises(flyball.ContextFull):
        small.score([1] * 258)


@pytest.mark.parametrize("variant", ["llama", "gemma3", "phi3"])
def test_score_and_last_logits_have_the_same_bits_everywhere(variant: str, model_file: Callable[..., Path]) -> None:
    seen = set()
    for isa, threads, batches in paths():
        with flyball.Model.load(model_file(variant, "Q4_K"), isa=isa, threads=threads, context=256) as model:
            ids = [(7 * i + 3) % model.info.n_vocab for i in range(150)]
            whole = model.logits(ids)
            for batch in batches:
                score = model.score(ids, 3, batch=batch)
                last = model.last_logits(ids, batch=batch)
                assert last.tobytes() == whole[-1].tobytes()
                seen.add((score.logprobs, score.top_logprobs, last.tobytes()))
    assert len(seen) == 1


def test_last_logits_are_the_callers_own(small: flyball.Model) -> None:
    last = small.last_logits([1, 2, 3])
    assert last.dtype == np.float32
    assert last.shape == (small.info.n_vocab,)
    last[0] = 1
    with pytest.raises(flyball.InvalidArgument, match="empty"):
        small.last_logits([])
    with pytest.raises(flyball.ContextFull):
        small.last_logits([1] * 257)


def test_score_reports_progress_and_stops(demo: flyball.Model) -> None:
    told: list[tuple[str, int, int]] = []
    ids = demo.tokenize(TEXT * 20)
    demo.score(ids, progress=lambda *step: told.append(step))
    assert told[-1] == ("prefill", len(ids) - 1, len(ids) - 1)

    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.score(ids, progress=stop)
    assert demo.score(ids[:9]).logprobs == demo.score(ids).logprobs[:8]
