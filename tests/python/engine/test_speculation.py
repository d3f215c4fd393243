"""Guessed tokens that are checked in one call: the answer is that of plain decoding, whatever guesses are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import flyball
from flyball.engine.options import GenerateKeywords
from flyball.engine.verify import report_of

REPEATING = "Tom said yes. Lily said no. " * 6


@pytest.mark.parametrize("speculate", ["auto", "always"])
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"seed": 4},
        {"seed": 4, "temperature": 1.5, "repeat_penalty": 1.2, "no_repeat_ngram": 5},
        {"temperature": 0, "stop": ["no."]},
    ],
)
def test_lookup_changes_nothing(demo: flyball.Model, speculate: str, options: GenerateKeywords) -> None:
    without: GenerateKeywords = {**options, "speculate": "off"}
    drafting: GenerateKeywords = {**options, "speculate": speculate}
    for prompt in (REPEATING, "Once upon a time", "a"):
        plain = demo.generate(prompt, 90, **without)
        guessed = demo.generate(prompt, 90, **drafting)
        assert guessed.digest == plain.digest
        assert guessed.text == plain.text
        assert guessed.metrics.decode.tokens == plain.metrics.decode.tokens
        assert plain.metrics.speculation.drafted == 0


def test_repetition_is_found_and_counted(demo: flyball.Model) -> None:
    result = demo.generate(REPEATING, 60, temperature=0, speculate="always", ignore_eos=True)
    speculation = result.metrics.speculation
    assert speculation.acceptance is not None
    assert speculation.acceptance > 0.5
    assert speculation.calls < speculation.accepted  # more than one token a call
    assert result.metrics.decode.calls + speculation.accepted == result.metrics.decode.tokens
    assert result.metrics.as_dict()["speculation"]["accepted"] == speculation.accepted  # type: ignore[index]


def test_stream_and_session_see_plain_decoding(demo: flyball.Model) -> None:
    sessions = [demo.session(), demo.session()]
    texts = []
    for session, speculate in zip(sessions, ("off", "always"), strict=True):
        stream = session.stream(REPEATING, 70, temperature=0, speculate=speculate, stop=["yes. Lily"])
        texts.append([piece.text for piece in stream])
    assert texts[0] == texts[1]
    # Checked guesses beyond the end of the answer are not in the session.
    assert sessions[0].tokens == sessions[1].tokens
    again = [session.generate("Once upon", 20, seed=1).digest for session in sessions]
    assert again[0] == again[1]


def test_context_ends_alike(demo: flyball.Model) -> None:
    ids = list(demo.tokenize(REPEATING))
    context = len(ids) + 20
    for speculate in ("off", "always"):
        session = demo.session(context=context)
        result = session.generate(ids, 200, temperature=0, speculate=speculate, ignore_eos=True)
        assert result.stop_reason == "context_full"
        assert len(result.tokens) == 21
        assert len(session.tokens) == context


def test_draft_model(demo: flyball.Model, model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(flyball.demo_model_path(), isa="scalar", threads=1) as draft:
        for options in ({"temperature": 0}, {"seed": 8, "temperature": 1.2}):
            plain = demo.generate("Once upon a time", 50, speculate="off", **options)
            guessed = demo.generate("Once upon a time", 50, speculate="always", draft=draft, **options)
            assert guessed.digest == plain.digest
            assert guessed.metrics.speculation.drafted > 0
        assert demo.generate("Once upon a time", 50, temperature=0, draft=draft).digest
        chat, plain_chat = demo.chat(), demo.chat()
        for text in ("about: dog", "about: cat"):
            guessed = chat.send(text, 30, seed=1, draft=draft, speculate="always")
            assert guessed.digest == plain_chat.send(text, 30, seed=1, speculate="off").digest
    with (
        flyball.Model.load(model_file("llama", "Q8_0"), context=64) as other,
        pytest.raises(flyball.InvalidArgument, match="vocabulary"),
    ):
        demo.generate("a", 4, draft=other)
    off = demo.generate("Once upon a time", 20, draft=demo, speculate="off")
    assert off.metrics.speculation.drafted == 0
    with pytest.raises(flyball.InvalidArgument, match="speculate"):
        demo.generate("a", 4, speculate="sometimes")


def test_wrong_guesses_back_off(demo: flyball.Model) -> None:
    """Guesses that are always wrong are given up: their share of the steps vanishes."""
    prompt = "".join(f"the dog {a}{b}. " for a in "abcdefgh" for b in "klmnop")
    result = demo.session().generate(prompt, 200, temperature=3.0, top_k=0, top_p=1.0, min_p=0.0, ignore_eos=True)
    assert result.metrics.speculation.calls <= 20


def test_verification_takes_many_tokens_a_call(demo: flyball.Model) -> None:
    result = demo.generate("Once upon a time", 150, seed=1, ignore_eos=True)
    report = report_of(result.receipt, demo)
    assert report["verified"]
    assert report["n_compared"] == 150
