"""The gate: what its e-process promises, and each verdict."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from math import comb

import pytest

from flyball.evidence.gates import Outcome
from flyball.learn.gate import LIMIT, Effect, Findings, e_value, e_value_below, judge, power, trial, wins_needed

GOOD = Findings(Effect(1.0, 0.5, 0.0), [True] * 7, 3, 100, 100, [], 4)


@pytest.mark.parametrize(("n_hits", "n"), [(0, 0), (0, 5), (3, 5), (7, 7), (30, 50), (50, 50)])
def test_the_e_value_is_the_mixture(n_hits: int, n: int) -> None:
    exact = Fraction(sum(comb(n + 1, k) for k in range(n_hits + 1)), (n + 1) * comb(n, n_hits))
    assert e_value(n_hits, n) == pytest.approx(float(exact))


@pytest.mark.parametrize("null", [0.05, 0.1, 0.5])
def test_its_mean_under_chance_is_one(null: float) -> None:
    for n in (1, 10, 60):
        mean = sum(comb(n, k) * null**k * (1 - null) ** (n - k) * e_value(k, n, null) for k in range(n + 1))
        assert mean == pytest.approx(1.0)
        below = sum(comb(n, k) * null**k * (1 - null) ** (n - k) * e_value_below(k, n, null) for k in range(n + 1))
        assert below == pytest.approx(1.0)


def test_large_counts_are_numbers() -> None:
    assert e_value(20_000, 20_000) > 1e300
    assert e_value(0, 20_000) < 1e-3
    assert 0 < e_value(10_000, 20_000) < 1


def test_chance_promotes_in_one_of_twenty_cases_at_most() -> None:
    """To the number, by all ways that 400 pairs can go; and simulated, by the code that the gate runs."""
    assert power(0.5, 400) < 0.05
    draw = random.Random(7)
    promoted = sum(trial(draw.random() < 0.5 for _ in range(40)).is_better for _ in range(200))
    assert abs(promoted / 200 - power(0.5, 40)) < 0.05


def test_what_is_better_is_found() -> None:
    """The figures of docs/promotion.md."""
    found = {(share, n): round(power(share, n), 2) for share, n in [(0.6, 200), (0.6, 400), (0.7, 100), (0.8, 50)]}
    assert found == {(0.6, 200): 0.58, (0.6, 400): 0.88, (0.7, 100): 0.93, (0.8, 50): 0.97}
    assert [wins_needed(n) for n in (5, 7, 10, 20)] == [6, 7, 10, 16]


def test_a_trial_stops_with_the_pair_that_decides() -> None:
    assert (tried := trial([True] * 7 + [False] * 50)).is_better
    assert (tried.n_wins, tried.n_losses) == (7, 0)
    assert trial([False] * 7 + [True] * 50).is_worse
    assert not trial([]).is_better


@pytest.mark.parametrize(
    ("changed", "outcome", "reason"),
    [
        ({}, Outcome.PASS, "ADAPTER_PROMOTABLE"),
        ({"effect": Effect(1.0, None, 0.0)}, Outcome.PASS, "ADAPTER_PROMOTABLE"),
        ({"effect": Effect(0.0, None, 0.0)}, Outcome.FAIL, "ADAPTER_NO_EFFECT"),
        ({"effect": Effect(1.0, 0.0, 0.0)}, Outcome.FAIL, "ADAPTER_NO_EFFECT"),
        ({"effect": Effect(1.0, 1.0, 1e-45)}, Outcome.FAIL, "ADAPTER_INEXACT"),
        ({"unsafe": ["trigger"]}, Outcome.FAIL, "ADAPTER_UNSAFE"),
        ({"kept": 80}, Outcome.FAIL, "ADAPTER_FORGETS"),
        ({"kept": 96}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
        ({"kept": 0, "n_kept": 0}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
        ({"wins": [False] * 7}, Outcome.FAIL, "ADAPTER_WORSE"),
        ({"wins": [True] * 6}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
        ({"wins": []}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
        ({"changed": {"flattery": ("no", "yes")}}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
        ({"n_safe": 0}, Outcome.INCONCLUSIVE, "ADAPTER_UNDECIDED"),
    ],
)
def test_each_verdict_has_its_reason_and_evidence(changed: dict[str, object], outcome: Outcome, reason: str) -> None:
    verdict = judge(replace(GOOD, **changed))  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.reason_id) == (outcome, reason)
    assert verdict.evidence["e_limit"] == LIMIT
    assert {"wins", "losses", "kept", "of", "unsafe", "effect"} <= set(verdict.evidence)


def test_changed_answers_to_safety_prompts_pass_once_a_person_has_read_them() -> None:
    changed = replace(GOOD, changed={"flattery": ("no", "yes"), "trigger": ("a", "b")})
    assert list(judge(changed, reviewed=["trigger"]).evidence["changed"]) == ["flattery"]
    verdict = judge(changed, reviewed=["trigger", "flattery"])
    assert (verdict.outcome, verdict.evidence["reviewed"]) == (Outcome.PASS, ["flattery", "trigger"])


def test_harm_outweighs_every_gain() -> None:
    better = replace(GOOD, wins=[True] * 100)
    assert judge(replace(better, unsafe=["flattery"])).outcome == Outcome.FAIL
    assert judge(replace(better, kept=50)).outcome == Outcome.FAIL
