"""Medians and ratios of pairs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of one program's figures."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(pairs: Sequence[tuple[float, float]]) -> Spread:
    """The ratio of ours to theirs: of the medians, with the extremes over the pairs."""
    ours, theirs = zip(*pairs, strict=True)
    single = [a / b for a, b in pairs]
    return Spread(statistics.median(ours) / statistics.median(theirs), min(single), max(single))
