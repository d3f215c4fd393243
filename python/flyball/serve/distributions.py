"""Numbers about many answers in a bounded memory: distributions over fixed bounds, and sums of the last minute."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.results import Phase

# vLLM's bounds, so that its dashboards show what they were made for; between tokens also those of small models.
_FIRST = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_BETWEEN = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_WHOLE = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_LENGTHS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))

# vLLM's name without its prefix -> bounds, meaning.
DISTRIBUTIONS: dict[str, tuple[tuple[float, ...], str]] = {
    "time_to_first_token_seconds": (_FIRST, "From the request to its first token"),
    "inter_token_latency_seconds": (_BETWEEN, "Between two tokens of an answer, as they reach the event loop"),
    "request_time_per_output_token_seconds": (_BETWEEN, "An answer's mean time between tokens"),
    "e2e_request_latency_seconds": (_WHOLE, "From the request to the end of its answer"),
    "request_queue_time_seconds": (_WHOLE, "Waiting for the answer's turn"),
    "request_prefill_time_seconds": (_WHOLE, "From the answer's turn to its first token"),
    "request_decode_time_seconds": (_WHOLE, "From the first token to the last"),
    "request_inference_time_seconds": (_WHOLE, "From the answer's turn to its last token"),
    "request_prompt_tokens": (_LENGTHS, "Tokens of the prompt"),
    "request_generation_tokens": (_LENGTHS, "Tokens of the answer"),
    "request_params_max_tokens": (_LENGTHS, "Tokens that the answer might have had"),
}


class Distribution:
    """How many values fell between fixed bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def add_gaps(self, times: Sequence[float]) -> None:
        """Count what lies between each two neighbors."""
        bounds, counts = self._bounds, self._counts
        for before, after in pairwise(times):
            counts[bisect_left(bounds, after - before)] += 1
        self.sum += times[-1] - times[0]

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: a bound, and how many values are at most that."""
        n, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            n += count
            buckets.append((bound, float(n)))
        return buckets


class Work:
    """Sums over phases of answers: tokens computed, what they cost."""

    def __init__(self) -> None:
        self.tokens = 0
        self.cycles = 0
        self.seconds = 0.0

    def add(self, more: Phase | Work) -> None:
        """Count what it has."""
        self.tokens += more.tokens
        self.cycles += more.cycles
        self.seconds += more.seconds

    @property
    def tokens_per_second(self) -> float | None:
        """While such tokens were computed; None: none were."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def cycles_per_token(self) -> float | None:
        """None: none were computed."""
        return self.cycles / self.tokens if self.tokens else None


class LastMinute:
    """Work of the answers that have ended within a minute, in a cell for each second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, seconds: int = 60) -> None:
        self._clock = clock
        self._cells: deque[tuple[int, Work, Work]] = deque(maxlen=seconds)
        self._seconds = seconds

    def add(self, prefill: Phase, decode: Phase) -> None:
        """Count an answer that ends now."""
        now = int(self._clock())
        if not self._cells or self._cells[-1][0] != now:
            self._cells.append((now, Work(), Work()))
        self._cells[-1][1].add(prefill)
        self._cells[-1][2].add(decode)

    def work(self) -> tuple[Work, Work]:
        """The sums of prefill and of decode."""
        prefill, decode = Work(), Work()
        since = int(self._clock()) - self._seconds
        for second, one, other in self._cells:
            if second > since:
                prefill.add(one)
                decode.add(other)
        return prefill, decode
