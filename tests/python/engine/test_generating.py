"""Answers: results, metrics, streams, and what ends them (contract 5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball

PROMPT = "Once upon a time"

# ---------------------------------------------------------------- generating


def test_result_is_complete_and_frozen(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 16, seed=1)
    assert result.text == demo.detokenize(result.tokens)
    assert result.prompt == tuple(demo.tokenize(PROMPT))
    assert len(result.tokens) == len(result.logprobs) == 16
    assert result.stop_reason == "max_tokens"
    assert len(result.digest) == 64
    assert str(result) == result.text
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.text = ""  # type: ignore[misc]


def test_metrics_count_prefill_and_decode_apart(demo: flyball.Model) -> None:
    metrics = demo.generate(PROMPT, 16, ignore_eos=True).metrics
    n_prompt = len(demo.tokenize(PROMPT))
    assert (metrics.prefill.tokens, metrics.prefill.calls) == (n_prompt, 1)
    assert (metrics.decode.tokens, metrics.decode.calls) == (15, 15)  # the last token is never fed
    assert metrics.decode.cycles_per_token == metrics.decode.cycles / 15
    assert 0 < metrics.first_token_cycles < metrics.total_cycles
    assert metrics.prefill.cycles + metrics.decode.cycles + metrics.sample_cycles <= metrics.total_cycles
    assert metrics.decode.tokens_per_second == pytest.approx(15 / metrics.decode.seconds)
    assert demo.generate(PROMPT, 1, batch=1).metrics.prefill.calls == n_prompt
    assert demo.generate(PROMPT, 1).metrics.decode.cycles_per_token is None


def test_same_seed_same_answer_whatever_came_before(demo: flyball.Model) -> None:
    first = demo.generate(PROMPT, 20, seed=11)
    demo.generate("Something else entirely", 20, seed=5)
    assert demo.generate(PROMPT, 20, seed=11).digest == first.digest
    assert len({demo.generate(PROMPT, 20, seed=seed, temperature=1.5).tokens for seed in range(6)}) > 1


def test_sequences_draw_apart(demo: flyball.Model) -> None:
    tokens = {demo.session(sequence=n).generate(PROMPT, 20, temperature=1.5).tokens for n in range(6)}
    assert len(tokens) > 1


def test_stream_gives_the_same_as_generate(demo: flyball.Model) -> None:
    whole = demo.generate(PROMPT, 20, seed=2)
    stream = demo.stream(PROMPT, 20, seed=2)
    with pytest.raises(flyball.InvalidArgument, match="is not complete"):
        _ = stream.result
    pieces = list(stream)
    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(piece.token for piece in pieces) == whole.tokens
    assert tuple(piece.logprob for piece in pieces) == whole.logprobs
    assert stream.result.digest == whole.digest
    assert list(stream) == []


def test_closed_stream_keeps_what_was_said(demo: flyball.Model) -> None:
    with demo.stream(PROMPT, 50, seed=2) as stream:
        first = [next(stream) for _ in range(3)]
    result = stream.result
    assert result.stop_reason == "interrupted"
    assert result.tokens[:3] == tuple(piece.token for piece in first)
    assert len(result.tokens) < 50
    assert flyball.verify(result.receipt, model=demo)


def test_stream_never_emits_half_a_character(model_file: Callable[..., Path]) -> None:
    """A random model draws single bytes of all kinds; whole characters come out, invalid bytes as U+FFFD."""
    for variant in ("llama", "mistral"):
        with flyball.Model.load(model_file(variant, "F32"), context=256) as model:
            wanted = model.tokenize("世界🦊é", add_special=False)
            for seed in range(3):
                bias = dict.fromkeys(wanted, 6.0)
                stream = model.stream(
                    [1, 2, 3], 120, seed=seed, temperature=2, top_k=0, top_p=1, min_p=0, logit_bias=bias
                )
                text = "".join(piece.text for piece in stream)
                raw = model.detokenize_bytes([t for t in stream.result.tokens if not model.is_end(t)])
                whole = raw.decode("utf-8", "replace")
                assert text == stream.result.text
                assert whole.startswith(text)
                assert len(whole) - len(text) <= 1  # at most an unfinished character at the very end


def test_an_answer_cut_inside_a_character_does_not_show_it(model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(model_file("llama", "F32"), context=64) as model:
        fox = model.tokenize("🦊", add_special=False)
        assert len(fox) == 4
        result = model.generate([1, 2], 1, logit_bias={fox[0]: 1000.0})
        assert (result.tokens, result.text) == ((fox[0],), "")
        assert model.generate([1, 2], 1, logit_bias={fox[1]: 1000.0}).text == "\ufffd"  # begins no character


# ---------------------------------------------------------------- ending


def test_stop_string_across_token_boundaries(demo: flyball.Model) -> None:
    free = demo.generate(PROMPT, 30, seed=1, temperature=0)
    middle = len(free.text) // 2
    stop = free.text[middle - 2 : middle + 3]  # cut without regard to tokens
    stream = demo.stream(PROMPT, 30, seed=1, temperature=0, stop=[stop, "never-said"])
    streamed = "".join(piece.text for piece in stream)
    assert stream.result.stop_reason == "stop_string"
    assert streamed == stream.result.text == free.text[: free.text.index(stop)]
    assert demo.generate(PROMPT, 30, temperature=0, stop=stop).text == streamed
    assert flyball.verify(stream.result.receipt, model=demo)


def test_text_that_only_begins_like_a_stop_string_is_not_lost(demo: flyball.Model) -> None:
    free = demo.generate(PROMPT, 12, temperature=0)
    almost = free.text[-3:] + "\x00"
    result = demo.generate(PROMPT, 12, temperature=0, stop=almost)
    assert (result.text, result.stop_reason) == (free.text, "max_tokens")


@pytest.mark.parametrize("stop", [[""], ["x"] * 1000, ["y" * 10**6]])
def test_hostile_stop_strings(demo: flyball.Model, stop: list[str]) -> None:
    with pytest.raises(flyball.InvalidArgument, match="stop"):
        demo.generate(PROMPT, 1, stop=stop)


def test_end_of_turn_ends_and_can_be_ignored(demo: flyball.Model) -> None:
    eos = demo.info.eos
    ended = demo.generate(PROMPT, 20, logit_bias={eos: 1000.0})
    assert (ended.stop_reason, ended.tokens, ended.text) == ("eos", (eos,), "")
    assert len(demo.generate(PROMPT, 5, logit_bias={eos: 1000.0}, ignore_eos=True).tokens) == 5


def test_context_full_is_a_clear_stop(small: flyball.Model) -> None:
    result = small.generate([3] * 250, 100, ignore_eos=True)
    assert result.stop_reason == "context_full"
    assert len(result.tokens) == 7  # six fit, and one more needs no room
    with pytest.raises(flyball.ContextFull, match="256"):
        small.generate([3] * 257, 1)


def test_deadline_in_the_past_stops_at_once(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 100, deadline=0)
    assert (result.stop_reason, result.tokens, result.text) == ("deadline", (), "")


def test_deadline_ends_a_long_answer(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 400, deadline=0.2, ignore_eos=True)
    if result.stop_reason == "deadline":  # a fast machine may be done before
        seconds = result.metrics.total_cycles / result.metrics.cycles_per_second
        assert seconds > 0.15
        assert flyball.verify(result.receipt, model=demo)
    else:
        assert result.stop_reason == "max_tokens"
