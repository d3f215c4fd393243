"""Due times: exact for constant and changing rates, and Poisson ones of the rate that was asked for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Literal

import pytest

from flyball.load.arrivals import due_times, expected, length
from flyball.load.driver import at_due_times
from flyball.load.plan import Arrivals, Stage

from . import virtual
from .plans import even


def dues(load: Arrivals, seed: int = 1) -> list[float]:
    return list(due_times(load, random.Random(seed)))


def test_even_arrivals_of_a_constant_rate() -> None:
    assert dues(even(4, 2)) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])
    assert len(dues(even(0.1, 5))) == 1
    assert len(dues(even(500, 60))) == 30_000


def test_even_arrivals_of_ramps() -> None:
    """From 0 to 4 a second in 2 s: t^2 have come at t."""
    assert dues(Arrivals((Stage(0, 4, 2),), "even", 9)) == pytest.approx([n**0.5 for n in range(4)])
    down = dues(Arrivals((Stage(4, 0, 2),), "even", 9))
    assert down == pytest.approx([2 - (4 - n) ** 0.5 for n in range(4)])


def test_stages_follow_each_other_without_a_gap_or_a_jump() -> None:
    """The first stage has one and a half arrivals: the half counts for the first one of the third stage."""
    stages = (Stage(1, 1, 1.5), Stage(0, 0, 2), Stage(2, 2, 1))
    assert dues(Arrivals(stages, "even", 9)) == pytest.approx([0, 1, 3.75, 4.25])
    assert length(stages) == 4.5
    assert sum(map(expected, stages)) == 3.5


@pytest.mark.parametrize(
    "stages", [(Stage(10, 10, 100),), (Stage(0, 40, 100),), (Stage(30, 10, 50), Stage(10, 10, 50))]
)
def test_poisson_arrivals_have_the_rate_at_every_time(stages: tuple[Stage, ...]) -> None:
    """Counts of each quarter, of 20 seeds: within five standard deviations of what is expected, and spread so."""
    total = length(stages)

    def quarters(spacing: Literal["poisson", "even"], seed: int) -> Counter[int]:
        return Counter(int(4 * due / total) for due in dues(Arrivals(stages, spacing, 9), seed))

    usual, drawn = quarters("even", 0), [quarters("poisson", seed) for seed in range(20)]
    for quarter in range(4):
        mean, counts = usual[quarter], [each[quarter] for each in drawn]
        assert abs(sum(counts) - 20 * mean) < 5 * (20 * mean) ** 0.5 + 20
        variance = sum((count - mean) ** 2 for count in counts) / 20
        assert 0.2 * mean < variance < 3 * mean


def test_due_times_follow_from_the_seed() -> None:
    load = Arrivals((Stage(5, 20, 10),), "poisson", 9)
    assert dues(load) == dues(load) == sorted(dues(load))
    assert dues(load) != dues(load, 2)
    assert all(0 <= due < 10 for due in dues(load))


def test_begins_at_due_times() -> None:
    """To a rounding of the clock; also those that were missed, at once and in order."""
    begun: list[tuple[float, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual.VirtualLoop)

        def begin(due: float) -> None:
            begun.append((due, loop.time()))
            if due == 11.0:
                loop.pass_time(1.6)

        await at_due_times([0, 0.5, 1, 1.5, 2, 2.5, 3], 10.0, begin)

    virtual.run(main())
    assert [due for due, _ in begun] == [10, 10.5, 11, 11.5, 12, 12.5, 13]
    late = [at - due for due, at in begun]
    assert late == pytest.approx([0, 0, 0, 1.1, 0.6, 0.1, 0], abs=1e-6)
