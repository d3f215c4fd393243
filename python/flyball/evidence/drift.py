"""Drift detection: whether a series of costs became slower than its baseline (a one-sided CUSUM, checked every run).

Costs are multiples of a reference workload measured in turn with them, so that a slower machine is no slow-down.
A single spike cannot raise the alarm: a run counts for at most CLIP standard deviations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST_RUNS = 10  # in a baseline
SLACK = 1.25  # standard deviations above the baseline that do not count
ALARM = 8.0  # the sum that is a slow-down
CLIP = 4.0
_MOST = 2 * ALARM  # cap of the sum, so that the alarm ends soon after a long slow-down is fixed
_LEAST_SPREAD = 0.025  # of the logarithm: the measured effect of other load on the machine
_WIDEN = 1.25  # the spread of few runs is uncertain


@dataclass(frozen=True)
class Baseline:
    """Median and spread of the logarithm of a cost over `n` runs."""

    center: float
    spread: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline:
        """The baseline of at least two costs."""
        logs = [math.log(value) for value in values]
        center = statistics.median(logs)
        # From the median absolute deviation, which is robust against spikes.
        spread = 1.4826 * statistics.median(abs(x - center) for x in logs)
        return cls(center, max(_LEAST_SPREAD, _WIDEN * spread), len(logs))


class Drift(NamedTuple):
    """`sum`: the CUSUM; from ALARM on it is a slow-down. `ratio`: median of the newest runs over the baseline."""

    slower: bool
    sum: float
    ratio: float


def slow_down(baseline: Baseline, values: Sequence[float], least_ratio: float, window: int = 5) -> Drift:
    """`values`: costs after the baseline, oldest first. A ratio below `least_ratio` is never a slow-down."""
    total = 0.0
    for value in values:
        deviation = (math.log(value) - baseline.center) / baseline.spread
        total = min(max(0.0, total + min(deviation, CLIP) - SLACK), _MOST)
    ratio = math.exp(statistics.median(map(math.log, values[-window:])) - baseline.center) if values else 1.0
    return Drift(total >= ALARM and ratio >= least_ratio, total, ratio)
