"""Tokens that an answer is said to begin with: the answer is the undisturbed one, or an error with the position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import flyball

N = 100
CUTS = [0, 1, 2, 17, 62, 63, 64, 65, 99, 100]
PROMPT = [(7919 * i * i + 31 * i) % 300 for i in range(90)]
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"seed": 1, "temperature": 0.8},
    {"seed": 2, "temperature": 1.5, "repeat_penalty": 1.2, "presence_penalty": 0.5, "no_repeat_ngram": 4},
    {"seed": 3, "temperature": 3.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "top_logprobs": 3},
]


@pytest.fixture(scope="module", params=["llama", "qwen35", "qwen3next", "lfm2", "nemotron_h"])
def model(request: pytest.FixtureRequest, model_file: Callable[..., Path]) -> Iterator[flyball.Model]:
    with flyball.Model.load(model_file(request.param, "Q8_0"), context=256) as loaded:
        yield loaded


def same(answer: flyball.Result, plain: flyball.Result) -> bool:
    names = ("digest", "request_key", "text", "tokens", "logprobs", "top_logprobs", "stop_reason", "prompt", "seed")
    return all(getattr(answer, name) == getattr(plain, name) for name in names)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_answer_is_the_undisturbed_one(model: flyball.Model, settings: dict[str, Any]) -> None:
    options: dict[str, Any] = {**settings, "ignore_eos": True, "speculate": "off"}
    plain = model.generate(PROMPT, N, **options)
    for cut in CUTS:
        answer = model.generate(PROMPT, N, known=plain.tokens[:cut], **options)
        assert same(answer, plain), cut
        assert answer.metrics.decode.tokens == plain.metrics.decode.tokens
        assert answer.metrics.decode.calls <= N - cut + 2
        assert answer.metrics.speculation.drafted == answer.metrics.speculation.calls == 0
    each: list[dict[str, Any]] = [{"known": plain.tokens[:cut]} for cut in [*CUTS, *CUTS]]
    answers = model.generate_many([PROMPT] * len(each), N, each=each, **options)
    assert all(same(answer, plain) for answer in answers)
    assert sum(answer.metrics.speculation.drafted for answer in answers) == 0
    assert sum(answer.metrics.decode.calls for answer in answers) < len(answers) * (N - 1)


def test_any_way_of_decoding_goes_on_from_them(model: flyball.Model) -> None:
    plain = model.generate(PROMPT, N, seed=5, ignore_eos=True, speculate="off")
    ways: list[dict[str, Any]] = [{"speculate": "always"}, {"batch": 7}, {"draft": model, "speculate": "always"}]
    for way in ways:
        for cut in (1, 64, 80):
            session = model.session()
            answer = session.generate(PROMPT, N, seed=5, ignore_eos=True, known=plain.tokens[:cut], **way)
            assert same(answer, plain)
            following = [*PROMPT, *plain.tokens, 7]
            again = session.generate(following, 3, ignore_eos=True)
            assert again.metrics.cached_tokens > len(PROMPT)
            assert again.digest == model.generate(following, 3, ignore_eos=True).digest
    assert flyball.verify(answer.receipt, model=model)


@pytest.mark.parametrize("position", [0, 1, 40, 62, 63, 64, 98, 99])
def test_a_wrong_one_is_an_error_with_its_position(model: flyball.Model, position: int) -> None:
    options: dict[str, Any] = {"seed": 4, "ignore_eos": True}
    plain = model.generate(PROMPT, N, **options)
    wrong = list(plain.tokens)
    wrong[position] = (wrong[position] + 1) % 300
    session = model.session()
    with pytest.raises(flyball.VerificationError, match=rf"^known\[{position}\]: is {wrong[position]}, ") as raised:
        session.generate(PROMPT, N, known=wrong, **options)
    assert (raised.value.position, raised.value.code) == (position, "mismatch")
    assert session.tokens == [*PROMPT, *plain.tokens[:position]][: len(session.tokens)]
    assert same(session.generate(PROMPT, N, **options), plain)
    each: list[dict[str, Any]] = [{}, {"known": wrong}, {"known": plain.tokens[:70]}]
    first, failed, last = model.generate_many([PROMPT] * 3, N, each=each, return_exceptions=True, **options)
    assert isinstance(failed, flyball.VerificationError)
    assert failed.position == position
    assert isinstance(first, flyball.Result)
    assert isinstance(last, flyball.Result)
    assert same(first, plain)
    assert same(last, plain)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_tokens": 30, "ignore_eos": True}, "max_tokens"),
        ({"max_tokens": 400, "seed": 2}, "eos"),
        ({"max_tokens": 400, "stop": ["the"]}, "stop_string"),
        ({"max_tokens": 400, "stop_token_ids": [259, 260, 261, 262, 270, 280]}, "stop_token"),
    ],
)
def test_an_answer_that_ends_before_is_an_error(demo: flyball.Model, options: dict[str, Any], reason: str) -> None:
    plain = demo.generate("Once upon a time", **options)
    assert plain.stop_reason == reason
    n = len(plain.tokens)
    whole: list[dict[str, Any]] = [{"known": plain.tokens}, {"known": plain.tokens[:-1]}, {"known": plain.tokens[:1]}]
    assert all(same(demo.generate("Once upon a time", **options, **known), plain) for known in whole)
    assert all(same(answer, plain) for answer in demo.generate_many(["Once upon a time"] * 3, each=whole, **options))
    beyond = [*plain.tokens, 7, 8, 9]
    message = rf"^known\[{n}\]: is 7, but the answer ends before it: {reason}"
    with pytest.raises(flyball.VerificationError, match=message) as raised:
        demo.generate("Once upon a time", known=beyond, **options)
    assert raised.value.position == n
    with pytest.raises(flyball.VerificationError, match=message) as raised:
        demo.generate_many(["Once upon a time"] * 2, each=[{"known": beyond}, {}], **options)
    assert raised.value.position == n


def test_a_full_context_ends_before_too(demo: flyball.Model) -> None:
    plain = demo.session(context=40).generate("Once upon a time", 100, ignore_eos=True)
    assert plain.stop_reason == "context_full"
    assert same(demo.session(context=40).generate("Once upon a time", 100, ignore_eos=True, known=plain.tokens), plain)
    with pytest.raises(flyball.VerificationError, match="context_full"):
        demo.session(context=40).generate("Once upon a time", 100, ignore_eos=True, known=[*plain.tokens, 7])


def test_streams_show_them(demo: flyball.Model) -> None:
    plain = demo.generate("Once upon a time", 150, seed=2, ignore_eos=True)
    known, wrong = plain.tokens[:120], [*plain.tokens[:50], plain.tokens[50] ^ 1]
    stream = demo.stream("Once upon a time", 150, seed=2, ignore_eos=True, known=known)
    pieces = list(stream)
    assert tuple(piece.token for piece in pieces) == plain.tokens
    assert "".join(piece.text for piece in pieces) == plain.text
    assert same(stream.result, plain)
    failing = demo.stream("Once upon a time", 150, seed=2, ignore_eos=True, known=wrong)
    shown = [next(failing).token for _ in range(50)]
    with pytest.raises(flyball.VerificationError):
        next(failing)
    assert tuple(shown) == plain.tokens[:50]

    async def answers() -> None:
        async def one(known: tuple[int, ...]) -> None:
            async with demo.astream("Once upon a time", 150, seed=2, ignore_eos=True, known=known) as stream:
                assert tuple([piece.token async for piece in stream]) == plain.tokens
                assert same(stream.result, plain)

        await asyncio.gather(*(one(plain.tokens[:cut]) for cut in (0, 30, 120, 150)))
        with pytest.raises(flyball.VerificationError) as raised:
            await demo.agenerate("Once upon a time", 150, seed=2, ignore_eos=True, known=wrong)
        assert raised.value.position == 50

    asyncio.run(answers())


def test_a_processor_is_called_once_for_each_token(demo: flyball.Model) -> None:
    calls: list[int] = []

    def counting(ids: npt.NDArray[np.int32], logits: npt.NDArray[np.float32]) -> None:
        calls.append(len(ids))
        logits[7] = -np.inf

    options: dict[str, Any] = {"logits_processor": counting, "seed": 6, "ignore_eos": True}
    plain = demo.generate("Once upon a time", 80, **options)
    expected, calls = calls, []
    for cut in (1, 70, 80):
        answer = demo.generate("Once upon a time", 80, known=plain.tokens[:cut], **options)
        assert same(answer, plain)
        assert (answer.metrics.decode.calls < 20) == (cut != 1)
        assert calls == expected
        calls.clear()


def test_an_answer_that_is_cut_short_contradicts_nothing(demo: flyball.Model) -> None:
    plain = demo.generate("Once upon a time", 150, seed=2, ignore_eos=True)
    options: dict[str, Any] = {"seed": 2, "ignore_eos": True, "known": plain.tokens}
    assert demo.generate("Once upon a time", 150, deadline=0.0, **options).stop_reason == "deadline"
    stream = demo.stream("Once upon a time", 150, **options)
    tokens = tuple(next(stream).token for _ in range(5))
    assert stream.close().stop_reason == "interrupted"
    assert stream.result.tokens == tokens == plain.tokens[:5]


def test_refused_before_any_work(small: flyball.Model) -> None:
    n_vocab = small.info.n_vocab
    session = small.session()
    for wrong in ([n_vocab], [1, -1], "12", [1.5], 5, [1, 2**40]):
        with pytest.raises(flyball.InvalidArgument, match="known"):
            session.generate([1], 4, known=wrong)  # type: ignore[arg-type]
        with pytest.raises(flyball.InvalidArgument, match="known"):
            small.generate_many([[1]], 4, known=wrong)  # type: ignore[arg-type]
    assert session.metrics.generations_started == 0
    with pytest.raises(flyball.VerificationError):
        session.generate([1], 4, known=range(300))  # more than there can be
