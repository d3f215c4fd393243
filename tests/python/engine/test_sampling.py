"""Settings of an answer: their effect, their ranges, and the errors that name them (contract 5)."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from flyball.journal.journal import read
from flyball.journal.replay import receipts

PROMPT = "Once upon a time"


def test_bans_and_biases(demo: flyball.Model) -> None:
    greedy = demo.generate(PROMPT, 1, temperature=0).tokens[0]
    assert demo.generate(PROMPT, 1, temperature=0, logit_bias={greedy: float("-inf")}).tokens[0] != greedy
    assert demo.generate(PROMPT, 1, temperature=0, logit_bias={77: 1000.0}).tokens == (77,)


def test_no_repeat_ngram(small: flyball.Model) -> None:
    tokens = small.generate([1, 2, 3], 60, temperature=0, no_repeat_ngram=2, ignore_eos=True).tokens
    pairs = list(pairwise(tokens))
    assert len(set(pairs)) == len(pairs)


def test_repeat_penalty_changes_the_answer(small: flyball.Model) -> None:
    free = small.generate([1, 2, 3], 40, temperature=0, ignore_eos=True).tokens
    punished = small.generate([1, 2, 3], 40, temperature=0, repeat_penalty=5, ignore_eos=True).tokens
    assert len(set(punished)) > len(set(free)) or punished != free


def test_presence_and_frequency_penalty_as_defined(small: flyball.Model) -> None:
    prompt = [1, 2, 3]
    presence, frequency = np.float32(0.1), np.float32(0.3)
    options: dict[str, Any] = {"presence_penalty": 0.1, "frequency_penalty": 0.3}
    result = small.generate(prompt, 40, temperature=0, ignore_eos=True, **options)
    assert result.tokens != small.generate(prompt, 40, temperature=0, ignore_eos=True).tokens
    rows = small.logits([*prompt, *result.tokens])[len(prompt) - 1 :].astype(np.float64)
    for i, token in enumerate(result.tokens):
        count = np.bincount(result.tokens[:i], minlength=small.info.n_vocab)  # the prompt does not count
        penalized = rows[i] - (count * float(frequency) + (count > 0) * float(presence))
        assert token == penalized.astype(np.float32).argmax()


def test_penalties_stand_in_receipt_and_journal(demo: flyball.Model, tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": 3, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    with (
        flyball.Journal(tmp_path / "journal", content=True) as journal,
        flyball.Model.load(flyball.demo_model_path(), journal=journal) as model,
    ):
        result = model.generate(PROMPT, 30, **options)
    assert result.receipt["schema_version"] == 2
    assert result.receipt["sampler"]["presence_penalty"] == 0.5
    assert result.receipt["sampler"]["frequency_penalty"] == 0.25
    assert flyball.verify(result.receipt, model=demo)
    changed = dict(result.receipt) | {"sampler": result.receipt["sampler"] | {"frequency_penalty": 50.0}}
    with pytest.raises(flyball.VerificationError):
        flyball.verify(changed, model=demo)
    recorded = [flyball.Receipt(text) for _, text in receipts(read(tmp_path / "journal"))]
    assert recorded == [result.receipt]
    assert flyball.verify(recorded[0], model=demo)


def test_a_random_seed_is_reported_and_repeats(demo: flyball.Model) -> None:
    results = [demo.generate(PROMPT, 30, seed=None, temperature=1.5) for _ in range(4)]
    assert len({result.seed for result in results}) == 4
    for result in results:
        assert 0 <= result.seed < 2**53  # exact in every reader of JSON
        assert result.receipt["sampler"]["seed"] == result.seed
        assert demo.generate(PROMPT, 30, seed=result.seed, temperature=1.5).digest == result.digest
    assert flyball.verify(results[0].receipt, model=demo)


def test_each_prompt_of_a_batch_and_each_stream_gets_its_own_random_seed(demo: flyball.Model, tmp_path: Path) -> None:
    with (
        flyball.Journal(tmp_path / "journal", content=True) as journal,
        flyball.Model.load(flyball.demo_model_path(), journal=journal) as model,
    ):
        results = model.generate_many([PROMPT] * 3, 12, seed=None)
        with model.stream(PROMPT, 12, seed=None) as stream:
            list(stream)
        results += [stream.result, asyncio.run(model.agenerate(PROMPT, 12, seed=None))]
    seeds = [result.seed for result in results]
    assert len(set(seeds)) == 5
    recorded = [flyball.Receipt(text)["sampler"]["seed"] for _, text in receipts(read(tmp_path / "journal"))]
    assert sorted(recorded) == sorted(seeds)
    for result in results:
        assert demo.generate(PROMPT, 12, seed=result.seed).digest == result.digest


def test_the_default_seed_stays(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 12)
    assert result.seed == 0
    assert result.digest == demo.generate(PROMPT, 12, seed=0).digest


def test_neutral_penalties_change_nothing(demo: flyball.Model) -> None:
    plain = demo.generate(PROMPT, 20)
    neutral = demo.generate(PROMPT, 20, presence_penalty=0, frequency_penalty=0)
    assert neutral.digest == plain.digest
    assert neutral.receipt["schema_version"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_k": 2**32},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"min_p": -0.1},
        {"min_p": 2},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "random"},
        {"top_logprobs": -1},
        {"top_logprobs": 129},
        {"top_logprobs": True + 0.5},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_tokens": 2**32},
        {"repeat_penalty": 0},
        {"repeat_penalty": float("inf")},
        {"repeat_window": -1},
        {"presence_penalty": 100.5},
        {"presence_penalty": float("nan")},
        {"frequency_penalty": -101},
        {"frequency_penalty": "much"},
        {"no_repeat_ngram": -1},
        {"no_repeat_ngram": 1000},
        {"stop_token_ids": [10**6]},
        {"stop_token_ids": [-1]},
        {"stop_token_ids": [1.5]},
        {"stop_token_ids": 7},
        {"stop_token_ids": "7"},
        {"batch": 0},
        {"deadline": -1},
        {"deadline": float("nan")},
        {"logit_bias": {10**6: 1.0}},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {1: float("nan")}},
        {"logit_bias": {1: float("inf")}},
        {"logit_bias": {1: "much"}},
    ],
    ids=lambda options: next(f"{k}={v}" for k, v in options.items()),
)
def test_hostile_options_name_themselves(demo: flyball.Model, options: dict[str, Any]) -> None:
    with pytest.raises(flyball.InvalidArgument) as caught:
        demo.generate(PROMPT, **({"max_tokens": 1} | options))
    assert next(iter(options)) in str(caught.value)


def test_unknown_option_is_a_type_error(demo: flyball.Model) -> None:
    with pytest.raises(TypeError, match="temprature"):
        demo.generate(PROMPT, temprature=1)  # type: ignore[call-arg]


def test_huge_limits_cost_nothing(demo: flyball.Model) -> None:
    result = demo.generate(
        PROMPT, 2**32 - 1, top_k=2**32 - 1, repeat_window=2**32 - 1, repeat_penalty=1.1, deadline=0.05
    )
    assert result.stop_reason in ("deadline", "eos", "context_full")
