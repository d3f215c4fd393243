"""Settings of an answer: their effect, their ranges, and the errors that name them (contract 5)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

import flyball

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
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_tokens": 2**32},
        {"repeat_penalty": 0},
        {"repeat_penalty": float("inf")},
        {"repeat_window": -1},
        {"no_repeat_ngram": -1},
        {"no_repeat_ngram": 1000},
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
