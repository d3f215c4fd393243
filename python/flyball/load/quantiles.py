"""Quantiles with bounds and verdicts on shares, from the binomial distribution alone: no assumption on the times.

SciPy would do it, which only the extra `reliability` installs (evidence.stats).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

CONFIDENCE = 0.95  # of each one-sided bound
_NEGLIGIBLE = 1e-18
_HALVINGS = 50


class Quantile(NamedTuple):
    """A value with one-sided bounds; infinite ones where there are too few values."""

    value: float
    low: float
    high: float


def at(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that at least this share of them does not exceed."""
    return ordered[max(0, min(len(ordered), math.ceil(share * len(ordered) - 1e-9)) - 1)]


def quantile(ordered: Sequence[float], share: float) -> Quantile:
    """The quantile of ordered values, with distribution-free bounds from order statistics."""
    n = len(ordered)
    # P(the j-th smallest (from 1) < quantile) >= P(Bin(n, share) >= j), and P(it > quantile) >= P(Bin < j).
    j = _smallest(n, lambda j: at_most(j - 1, n, share) >= CONFIDENCE)
    i = _smallest(n, lambda i: at_least(i, n, share) < CONFIDENCE) - 1
    return Quantile(at(ordered, share), ordered[i - 1] if i >= 1 else -math.inf, ordered[j - 1] if j <= n else math.inf)


def share_bounds(n_hits: int, n: int) -> tuple[float, float]:
    """One-sided bounds of a share (Clopper and Pearson)."""
    if n == 0:
        return 0.0, 1.0
    low, high = 0.0, 1.0
    if n_hits:
        low = _root(lambda p: at_least(n_hits, n, p) < 1 - CONFIDENCE)
    if n_hits < n:
        high = _root(lambda p: at_most(n_hits, n, p) > 1 - CONFIDENCE)
    return low, high


def at_most(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k)."""
    if k < 0 or k >= n or p <= 0 or p >= 1:
        return float(k >= n or (k >= 0 and p <= 0))
    if k > n * p:
        return 1 - _tail(k + 1, n, p, 1)
    return _tail(k, n, p, -1)


def at_least(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) >= k)."""
    return 1 - at_most(k - 1, n, p)


def _tail(k: int, n: int, p: float, step: int) -> float:
    """The sum of the probabilities from `k` away from the mean, where they only fall."""
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    term, total, odds = math.exp(log), 0.0, p / (1 - p)
    while 0 <= k <= n and term > _NEGLIGIBLE:
        total += term
        term *= (n - k) / (k + 1) * odds if step > 0 else k / (n - k + 1) / odds
        k += step
    return min(1.0, total)


def _smallest(n: int, holds: Callable[[int], bool]) -> int:
    """The smallest of 1 ... n for which a condition holds that stays true; n + 1 if none."""
    low, high = 1, n + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _root(below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2
