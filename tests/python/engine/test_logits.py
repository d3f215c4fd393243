"""Text and token ids both ways, and logits and embeddings of them (contract 5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flyball

PROMPT = "Once upon a time"


def log_softmax(row: np.ndarray) -> np.ndarray:
    x = row.astype(np.float64)
    x -= x.max()
    return x - math.log(np.exp(x).sum())


# ---------------------------------------------------------------- text and ids


@pytest.mark.parametrize(
    "text", ["", " ", "Hello, world!", "Zażółć gęślą 世界 🦊", "a\r\n\tb\x00c", "é" * 300, "1234567"]
)
def test_round_trip_of_text(demo: flyball.Model, text: str) -> None:
    assert demo.detokenize(demo.tokenize(text)) == text


def test_text_never_becomes_a_control_token_unless_asked(demo: flyball.Model) -> None:
    plain = demo.tokenize("<|im_end|>", add_special=False)
    parsed = demo.tokenize("<|im_end|>", add_special=False, parse_special=True)
    assert len(parsed) == 1
    assert parsed[0] not in plain
    assert demo.is_end(parsed[0])
    assert demo.detokenize(parsed) == ""
    assert demo.detokenize(parsed, special=True) == "<|im_end|>"
    assert demo.detokenize(plain) == "<|im_end|>"


def test_lone_surrogates_are_refused(demo: flyball.Model) -> None:
    for call in (demo.tokenize, demo.generate, lambda text: demo.generate("x", stop=text)):
        with pytest.raises(flyball.InvalidArgument, match="surrogate"):
            call("bad \ud800 text")


@pytest.mark.parametrize("ids", [[-1], [10**6], [2**31], [2**70], [0, -(2**70)]])
def test_wrong_ids_are_named(demo: flyball.Model, ids: list[int]) -> None:
    for call in (demo.detokenize, demo.logits, demo.generate):
        with pytest.raises(flyball.InvalidArgument, match="token ids go from 0 to"):
            call(ids)


@pytest.mark.parametrize("ids", ["text", b"bytes", [1.5], [None], 7])
def test_ids_of_wrong_types(demo: flyball.Model, ids: Any) -> None:
    with pytest.raises((TypeError, flyball.InvalidArgument)):
        demo.logits(ids)


def test_prompt_as_ids_array_or_text_is_the_same(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    digests = {
        demo.generate(prompt, 4).digest for prompt in (PROMPT, ids, tuple(ids), np.array(ids), np.array(ids, np.uint16))
    }
    assert len(digests) == 1
    for wrong in (np.array([ids]), np.array(ids, np.float32), b"bytes"):
        with pytest.raises(flyball.InvalidArgument):
            demo.generate(wrong, 1)  # type: ignore[arg-type]


def test_empty_prompt_is_refused(demo: flyball.Model) -> None:
    nothing: list[int] = []
    for prompt in ("", nothing):
        with pytest.raises(flyball.InvalidArgument, match="empty"):
            demo.generate(prompt)


# ---------------------------------------------------------------- logits and embeddings


def test_logits_shape_type_and_batches(demo: flyball.Model) -> None:
    ids = demo.tokenize("The fox went to the mill and asked for bread.")
    logits = demo.logits(ids)
    assert logits.dtype == np.float32
    assert logits.shape == (len(ids), demo.info.n_vocab)
    assert np.isfinite(logits).all()
    assert (demo.logits(ids, batch=3).view(np.uint32) == logits.view(np.uint32)).all()
    assert (demo.logits(ids[:5]).view(np.uint32) == logits[:5].view(np.uint32)).all()
    logits[0, 0] = 1  # it is the caller's own memory


def test_logits_refuses_what_cannot_be(small: flyball.Model) -> None:
    with pytest.raises(flyball.InvalidArgument):
        small.logits([])
    with pytest.raises(flyball.InvalidArgument, match="batch"):
        small.logits([1], batch=0)
    with pytest.raises(flyball.ContextFull):
        small.logits([1] * 257)


def test_logprobs_are_the_log_softmax_of_the_logits(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    result = demo.generate(ids, 12, seed=3)
    logits = demo.logits([*ids, *result.tokens])
    for i, (token, logprob) in enumerate(zip(result.tokens, result.logprobs, strict=True)):
        assert logprob == pytest.approx(log_softmax(logits[len(ids) + i - 1])[token], abs=2e-5)


def test_greedy_takes_the_first_maximum(demo: flyball.Model) -> None:
    ids = demo.tokenize(PROMPT)
    result = demo.generate(ids, 8, temperature=0)
    logits = demo.logits([*ids, *result.tokens])
    assert list(result.tokens) == [int(logits[len(ids) + i - 1].argmax()) for i in range(len(result.tokens))]


def test_embeddings(small: flyball.Model) -> None:
    ids = [5, 9, 200, 33]
    for pooling in ("mean", "last", "first"):
        vector = small.embed(ids, pooling)
        assert vector.shape == (small.info.n_embd,)
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-5)
        assert (small.embed(ids, pooling, batch=1) == vector).all()
    raw = small.embed(ids, "mean", normalize=False)
    unit = small.embed(ids, "mean")
    assert np.allclose(raw / np.linalg.norm(raw), unit, atol=1e-6)
    assert (small.embed(ids[:1], "last") == small.embed(ids[:1], "first")).all()
    with pytest.raises(flyball.InvalidArgument, match="median"):
        small.embed(ids, "median")
    assert small.embed("text works, too").shape == (small.info.n_embd,)


def test_embeddings_of_a_list(small: flyball.Model) -> None:
    texts = ["The fox", "A much longer text about the fox, the mill and its bread.", "Z"]
    for pooling, normalize in (("mean", True), ("last", False), ("first", True)):
        rows = small.embed(texts, pooling, normalize)
        assert rows.shape == (3, small.info.n_embd)
        assert rows.dtype == np.float32
        for row, text in zip(rows, texts, strict=True):
            assert row.tobytes() == small.embed(text, pooling, normalize).tobytes()
    ids: list[Any] = [[1, 2, 3], np.array([4, 5]), (6,), "text"]
    assert small.embed(ids).tobytes() == b"".join(small.embed(one).tobytes() for one in ids)
    assert small.session().embed(tuple(texts)).shape == (3, small.info.n_embd)
    assert small.embed(["one"]).shape == (1, small.info.n_embd)
    assert small.embed((1, 2, 3)).shape == small.embed(np.array([1, 2, 3])).shape == (small.info.n_embd,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["good", []], "prompt 1: is empty"),
        (["good", [10**6]], "prompt 1: is 1000000"),
        (["good", None], "prompt 1: is None"),
        (["good", b"bytes"], "prompt 1: is bytes"),
        (["good", "lone \ud800"], "prompt 1: .*surrogate"),
        ([[1], 2], "prompt 1: is 2"),
        (["good", [1] * 257], "prompt 1: has 257 tokens"),
    ],
)
def test_a_bad_text_of_a_list_is_named_before_any_work(small: flyball.Model, texts: list[Any], message: str) -> None:
    session = small.session()
    with pytest.raises(flyball.Error, match=message):
        session.embed(texts)
    assert session.metrics.prefill.tokens == 0
