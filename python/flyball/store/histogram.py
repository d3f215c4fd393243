"""A histogram of times whose buckets never change, so that counts of servers and days add up."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import InvalidArgument

# Upper bounds in milliseconds, four a doubling from 0.1 ms to two hours: a quantile is at most 19 % too high.
BOUNDS_MS = tuple(0.1 * 2 ** (step / 4) for step in range(105))


@dataclass(frozen=True)
class Histogram:
    """How many times fell into each bucket; the bucket after the last bound has all longer ones."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Histogram:
        """Raises InvalidArgument for a negative time or one that is no number."""
        counts: Counter[int] = Counter()
        for time in times_ms:
            if not time >= 0:
                raise InvalidArgument("times_ms", f"has {time!r}, must be times of 0 or more")
            counts[bisect.bisect_left(BOUNDS_MS, time)] += 1
        return cls(dict(counts))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(dict(Counter(self.counts) + Counter(other.counts)))

    @property
    def n(self) -> int:
        """All times."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Milliseconds that `share` (0.95: 95 %) of the times do not exceed: a bucket's bound. None without times."""
        if not 0 <= share <= 1:
            raise InvalidArgument("share", f"is {share}, must be 0 to 1")
        n_below = 0
        for bucket in sorted(self.counts):
            n_below += self.counts[bucket]
            if n_below and n_below >= share * self.n:
                return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)]
        return None
