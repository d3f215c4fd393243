"""Medians, and ratios pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A middle value with the smallest and the largest."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Of one program's figures."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(pairs: Sequence[tuple[float, float]]) -> Spread:
    """Ours over theirs: of the medians, and the extremes over the pairs, each of which was measured side by side."""
    ours, theirs = zip(*pairs, strict=True)
    single = [a / b for a, b in pairs]
    return Spread(statistics.median(ours) / statistics.median(theirs), min(single), max(single))
