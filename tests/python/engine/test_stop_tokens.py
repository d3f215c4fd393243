"""stop_token_ids: token ids that end an answer, beside the model's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

import flyball

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def free(demo: flyball.Model) -> flyball.Result:
    """An answer that no stop token ends."""
    return demo.generate(PROMPT, 40, seed=2)


def first_of(tokens: Sequence[int], least: int) -> tuple[int, int]:
    """(place, token) of the first token, from place `least` on, that has not occurred before."""
    return next((i, token) for i, token in enumerate(tokens) if i >= least and token not in tokens[:i])


def test_a_stop_token_ends_the_answer(demo: flyball.Model, free: flyball.Result) -> None:
    at, token = first_of(free.tokens, 10)
    result = demo.generate(PROMPT, 40, seed=2, stop_token_ids=[token, token])
    assert result.stop_reason == "stop_token"
    assert result.tokens == free.tokens[: at + 1]  # with the token that ended it, as with an end-of-turn token
    assert result.text == demo.detokenize(free.tokens[:at])
    assert flyball.verify(result.receipt, model=demo)


@pytest.mark.parametrize("how", ["stream", "batch", "always", "asyncio"])
def test_the_same_on_every_path(demo: flyball.Model, free: flyball.Result, how: str) -> None:
    _, token = first_of(free.tokens, 10)
    result = demo.generate(PROMPT, 40, seed=2, stop_token_ids=[token])
    if how == "stream":
        with demo.stream(PROMPT, 40, seed=2, stop_token_ids=[token]) as stream:
            text = "".join(piece.text for piece in stream)
        assert text == result.text
        other = stream.result
    elif how == "batch":
        other, *_ = demo.generate_many([PROMPT, "The fox"], 40, seed=2, stop_token_ids=[token])
    elif how == "always":
        other = demo.generate(PROMPT, 40, seed=2, stop_token_ids=[token], speculate="always")
    else:
        other = asyncio.run(demo.agenerate(PROMPT, 40, seed=2, stop_token_ids=[token]))
    assert (other.digest, other.text, other.stop_reason) == (result.digest, result.text, "stop_token")


def test_the_models_own_end_keeps_its_reason(demo: flyball.Model) -> None:
    messages = [{"role": "user", "content": "What is 3 + 4?"}]
    prompt = demo.chat_template().ids(messages)
    ended = demo.generate(prompt, 100, temperature=0)
    assert ended.stop_reason == "eos"
    last = ended.tokens[-1]
    assert demo.generate(prompt, 100, temperature=0, stop_token_ids=[last]).stop_reason == "eos"
    ignoring = demo.generate(prompt, 100, temperature=0, stop_token_ids=[last], ignore_eos=True)
    assert ignoring.stop_reason == "stop_token"
    assert ignoring.tokens == ended.tokens
    assert ignoring.text == ended.text
    assert flyball.verify(ignoring.receipt, model=demo)


def test_a_changed_list_is_found(demo: flyball.Model, free: flyball.Result) -> None:
    _, token = first_of(free.tokens, 10)
    receipt = demo.generate(PROMPT, 40, seed=2, stop_token_ids=[token]).receipt
    changed = dict(receipt) | {"limits": receipt["limits"] | {"stop_tokens": []}}
    with pytest.raises(flyball.VerificationError):
        flyball.verify(changed, model=demo)


def test_no_list_keeps_the_digest(demo: flyball.Model, free: flyball.Result) -> None:
    assert demo.generate(PROMPT, 40, seed=2, stop_token_ids=[]).digest == free.digest
    assert free.receipt["schema_version"] == 1
    assert demo.generate(PROMPT, 4, stop_token_ids=[1]).receipt["schema_version"] == 2
