"""Due times of an open loop: exact for ramps, and from a seed alone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

from .plan import Arrivals, Stage

_ROUNDING = 1e-9  # of an arrival: the last one of even arrivals is before the end, not at it


def due_times(load: Arrivals, chance: random.Random) -> Iterator[float]:
    """Seconds from the start at which iterations are due, in order.

    Arrivals of rate 1 (each a whole number, or sums of exponential gaps) are put where the expected number of arrivals
    reaches them: of a rate that changes, this is a Poisson process with just that rate.
    """
    numbers = _numbers(load.spacing == "poisson", chance)
    number = next(numbers)
    begun, before = 0.0, 0.0
    for stage in load.stages:
        after = before + expected(stage)
        while number < after - _ROUNDING:
            yield begun + _reached(stage, number - before)
            number = next(numbers)
        begun, before = begun + stage.seconds, after


def expected(stage: Stage) -> float:
    """How many arrivals a stage has."""
    return (stage.rate + stage.to) / 2 * stage.seconds


def length(stages: Iterable[Stage]) -> float:
    """Seconds of all stages."""
    return sum(stage.seconds for stage in stages)


def _numbers(poisson: bool, chance: random.Random) -> Iterator[float]:
    number = chance.expovariate(1) if poisson else 0.0
    while True:
        yield number
        number += chance.expovariate(1) if poisson else 1.0


def _reached(stage: Stage, n: float) -> float:
    """When `n` have come: the root of rate t + (to - rate) t^2 / (2 seconds) = n, in the form that cancels nothing."""
    growth = (stage.to - stage.rate) / stage.seconds
    root = math.sqrt(max(0.0, stage.rate**2 + 2 * growth * n))
    return min(stage.seconds, 2 * n / (stage.rate + root)) if n > 0 else 0.0
