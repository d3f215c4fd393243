"""Canaries: who gets one, and what their outcomes decide."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from flyball.evidence.gates import Outcome as Judged
from flyball.learn.canary import CANARY, CONTROL, Outcome, compare, is_canary, token_cycles

SHARE = 10


def outcomes(
    n: int,
    seed: int,
    failing: tuple[float, float] = (0.0, 0.0),
    bad: tuple[float, float] = (0.0, 0.0),
    slower: float = 1.0,
) -> Iterator[Outcome]:
    """With rates of (others, canary)."""
    draw = random.Random(seed)
    for number in range(n):
        key = f"{seed}-{number}"
        side = is_canary(key, "d" * 64, SHARE)
        failed = draw.random() < failing[side]
        is_good = False if draw.random() < bad[side] else None
        cost = draw.uniform(0.8, 1.2) * (slower if side else 1.0)
        yield Outcome(CANARY if side else CONTROL, key, failed, is_good, None if failed else cost)


def test_the_share_is_kept_and_a_question_has_one_side() -> None:
    keys = [f"question {number}" for number in range(20_000)]
    chosen = [is_canary(key, "a" * 64, SHARE) for key in keys]
    assert 0.09 < sum(chosen) / len(keys) < 0.11
    assert chosen == [is_canary(key, "a" * 64, SHARE) for key in keys]
    assert chosen != [is_canary(key, "b" * 64, SHARE) for key in keys]
    assert all(chosen[number] <= is_canary(key, "a" * 64, 20) for number, key in enumerate(keys)), "a larger share adds"
    assert not any(is_canary(key, "a" * 64, 0) for key in keys)


@pytest.mark.parametrize(
    ("how", "name"),
    [({"failing": (0.02, 0.4)}, "failures"), ({"bad": (0.02, 0.4)}, "ratings"), ({"slower": 2.0}, "speed")],
)
def test_a_worse_canary_is_found_by_each_of_its_outcomes(how: dict[str, object], name: str) -> None:
    verdict = compare(outcomes(1500, 3, **how), SHARE)  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.reason_id) == (Judged.FAIL, "ADAPTER_CANARY_WORSE")
    assert verdict.message.startswith(name)
    assert max(verdict.evidence["e"], key=verdict.evidence["e"].get) == name


def test_a_canary_that_is_alike_is_rolled_back_in_one_of_twenty_cases_at_most() -> None:
    """Looked at after every 100 requests."""
    worse = 0
    for seed in range(60):
        seen = list(outcomes(800, seed, failing=(0.05, 0.05), bad=(0.1, 0.1), slower=1.1))
        worse += any(compare(seen[:n], SHARE).outcome == Judged.FAIL for n in range(100, 801, 100))
    assert worse <= 3


def test_it_becomes_active_by_itself_only_where_it_may_and_is_surely_not_much_worse() -> None:
    seen = list(outcomes(4000, 5, bad=(0.1, 0.1)))
    assert compare(seen, SHARE).outcome == Judged.INCONCLUSIVE
    verdict = compare(seen, SHARE, may_promote=True)
    assert (verdict.outcome, verdict.reason_id) == (Judged.PASS, "ADAPTER_CANARY_PASSED")
    assert compare(seen[:200], SHARE, may_promote=True).outcome == Judged.INCONCLUSIVE
    worse = list(outcomes(4000, 5, bad=(0.1, 0.2)))
    assert compare(worse, SHARE, may_promote=True).outcome == Judged.FAIL


def test_a_repeated_question_counts_once() -> None:
    """Otherwise one client that tries again would roll a canary back."""
    once = [Outcome(CANARY, "same", True)]
    assert compare(once * 50, SHARE).evidence == compare(once, SHARE).evidence
    assert compare([Outcome(CANARY, str(n), True) for n in range(5)], SHARE).outcome == Judged.FAIL


def test_nothing_decides_nothing() -> None:
    assert compare([], SHARE, may_promote=True).outcome == Judged.INCONCLUSIVE


def test_the_cost_of_a_token() -> None:
    assert token_cycles(900, 10) == 100
    assert token_cycles(900, 3) is None, "too short"
    assert token_cycles(None, 10) is None, "given again"
