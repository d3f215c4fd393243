"""Whether a series became slower: a cumulative sum against a baseline that was chosen, looked at after each run.

Values are costs as multiples of a reference workload, measured in turn with them, so that a slower machine is no
slow-down. Robust against single spikes: a run counts for at most CLIP standard deviations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST_RUNS = 10  # of a baseline
SLACK = 1.25  # standard deviations that a run may be above the baseline before it counts
ALARM = 8.0  # their sum
CLIP = 4.0
_MOST = 2 * ALARM  # so that a long slow-down that is mended is not told for long after
_LEAST_SPREAD = 0.025  # of the logarithm: what a neighbour who comes or goes was seen to change
_WIDEN = 1.25  # the spread of few runs is known badly


@dataclass(frozen=True)
class Baseline:
    """Median and spread of the logarithm of a cost over `n` runs."""

    center: float
    spread: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline:
        """Of at least two runs' costs."""
        logs = [math.log(value) for value in values]
        center = statistics.median(logs)
        # From the median absolute deviation, which spikes do not move.
        spread = 1.4826 * statistics.median(abs(x - center) for x in logs)
        return cls(center, max(_LEAST_SPREAD, _WIDEN * spread), len(logs))


class Drift(NamedTuple):
    """`sum`: how far the evidence has come; ALARM is a slow-down. `ratio`: the newest runs' median to the baseline."""

    slower: bool
    sum: float
    ratio: float


def slow_down(baseline: Baseline, values: Sequence[float], least_ratio: float, window: int = 5) -> Drift:
    """`values`: costs of the runs after the baseline, oldest first. Below `least_ratio` nothing is a slow-down."""
    total = 0.0
    for value in values:
        deviation = (math.log(value) - baseline.center) / baseline.spread
        total = min(max(0.0, total + min(deviation, CLIP) - SLACK), _MOST)
    ratio = math.exp(statistics.median(map(math.log, values[-window:])) - baseline.center) if values else 1.0
    return Drift(total >= ALARM and ratio >= least_ratio, total, ratio)
