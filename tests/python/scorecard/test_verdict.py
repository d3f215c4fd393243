"""The rule, part by part and together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flyball.evidence.gates import Outcome
from flyball.scorecard.verdict import CONFIDENCE, NEEDED, Share, Size, at_least, at_most, decide

GOOD, BAD, UNSURE = Share(38, 40), Share(5, 40), Share(28, 40)
FAST, SLOW = (0.3, 0.4), (2.5, 2.6)
QUICK, CRAWLING = (30.0, 50.0), (10.0, 12.0)
SMALL, BIG = 1_000_000_000, 3_000_000_000


@pytest.mark.parametrize(
    ("share", "outcome"),
    [
        (GOOD, Outcome.PASS),
        (BAD, Outcome.FAIL),
        (UNSURE, Outcome.INCONCLUSIVE),
        (Share(40, 40), Outcome.PASS),
        (Share(0, 40), Outcome.FAIL),
        (Share(3, 3), Outcome.INCONCLUSIVE),  # three of three may be luck
        (Share(0, 0), Outcome.INCONCLUSIVE),
        (Share(20, 40), Outcome.FAIL),  # who always refuses, or never
    ],
)
def test_a_group_is_judged_by_its_interval(share: Share, outcome: Outcome) -> None:
    assert share.outcome is outcome


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    """Of 40 hits of 40 the lower bound has the closed form (alpha / 2) ** (1 / n)."""
    lower, upper = Share(40, 40).bounds
    assert lower == pytest.approx((1 - CONFIDENCE) ** (1 / 40))
    assert upper == 1.0
    assert Share(0, 0).bounds == (0.0, 1.0)
    assert pytest.approx(2 / 3) == NEEDED


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ((2.0,), Outcome.PASS),
        ((1.0, 2.0), Outcome.PASS),
        ((2.1, 3.0), Outcome.FAIL),
        ((1.9, 2.1), Outcome.INCONCLUSIVE),
        ((), Outcome.INCONCLUSIVE),
    ],
)
def test_a_limit_counts_if_all_repeats_are_on_one_side(values: Sequence[float], outcome: Outcome) -> None:
    assert at_most(values, 2.0) is outcome
    assert at_least([-value for value in values], -2.0) is outcome


@pytest.mark.parametrize(
    ("groups", "latency_s", "tokens_s", "parameters", "size"),
    [
        ((GOOD, GOOD, GOOD), FAST, QUICK, SMALL, Size.KEEP_SMALL),
        ((GOOD, GOOD, GOOD), FAST, QUICK, BIG, Size.KEEP_SMALL),
        ((GOOD, GOOD, BAD), FAST, QUICK, SMALL, Size.KEEP_SMALL),  # two of three must fail
        ((GOOD, GOOD, UNSURE), FAST, QUICK, SMALL, Size.KEEP_SMALL),  # one of three at most
        ((GOOD, UNSURE, BAD), FAST, QUICK, SMALL, Size.UNDECIDED),
        ((GOOD, UNSURE, UNSURE), FAST, QUICK, SMALL, Size.UNDECIDED),
        ((GOOD, BAD, BAD), FAST, QUICK, SMALL, Size.TRY_3_8B),
        ((GOOD, BAD, BAD), FAST, QUICK, None, Size.TRY_3_8B),
        ((GOOD, BAD, BAD), FAST, QUICK, BIG, Size.NEED_BIGGER),  # it has 3B already
        ((UNSURE, BAD, BAD), FAST, QUICK, SMALL, Size.TRY_3_8B),  # it must go; that all fail is not known
        ((BAD, BAD, BAD), FAST, QUICK, SMALL, Size.NEED_BIGGER),
        ((BAD, BAD, BAD), SLOW, CRAWLING, SMALL, Size.NEED_BIGGER),
        ((BAD, BAD, BAD), (), (), None, Size.NEED_BIGGER),
        ((GOOD, GOOD, GOOD), SLOW, QUICK, SMALL, Size.TRY_3_8B),
        ((GOOD, GOOD, GOOD), FAST, CRAWLING, SMALL, Size.TRY_3_8B),
        ((GOOD, GOOD, GOOD), FAST, CRAWLING, BIG, Size.NEED_BIGGER),
        ((GOOD, GOOD, GOOD), (1.9, 2.1), QUICK, SMALL, Size.UNDECIDED),
        ((GOOD, GOOD, GOOD), FAST, (), SMALL, Size.UNDECIDED),  # unknown speed never passes
        ((GOOD, GOOD, GOOD), SLOW, (), SMALL, Size.TRY_3_8B),
        ((UNSURE, UNSURE, UNSURE), (), (), None, Size.UNDECIDED),
    ],
)
def test_the_rule(
    groups: tuple[Share, Share, Share],
    latency_s: Sequence[float],
    tokens_s: Sequence[float],
    parameters: int | None,
    size: Size,
) -> None:
    named = dict(zip(("follow", "coherent", "grounded"), groups, strict=True))
    decision = decide(named, latency_s, tokens_s, parameters)
    assert decision.size is size
    assert set(decision.outcomes) == {*named, "latency", "tokens"}
    assert len(decision.reasons) == 5
    for reason, outcome in zip(decision.reasons, decision.outcomes.values(), strict=True):
        assert {"pass": " passes: ", "fail": " fails: ", "inconclusive": " undecided: "}[outcome] in reason
