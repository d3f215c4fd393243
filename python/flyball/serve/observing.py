"""What a server counts of its answers."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..engine.results import Result
    from .answering import Answering

_LATEST = 512  # answers that percentiles are taken over


class Observer:
    """Counts of a server: for the event loop's thread alone."""

    def __init__(self) -> None:
        self.started = time.time()
        self.n_finished = 0
        self.n_canceled = 0
        self.n_known_refused = 0  # kept tokens that were not the answer's
        self.prompt_tokens = 0
        self.generated_tokens = 0
        self.finish_reasons: Counter[str] = Counter()
        self.first_token_seconds: deque[float] = deque(maxlen=_LATEST)
        self.latest: deque[Result] = deque(maxlen=32)

    def begun(self, answering: Answering) -> None:
        """Its turn has come."""

    def ended(self, answering: Answering, result: Result | None) -> None:
        """It is complete, or was ended without a result."""
        times = answering.times
        if result is None:
            self.n_canceled += 1
            return
        self.n_finished += 1
        self.prompt_tokens += len(result.prompt)
        self.generated_tokens += len(result.tokens)
        self.finish_reasons[result.stop_reason] += 1
        if times.first is not None:
            self.first_token_seconds.append(times.first - times.asked)
        self.latest.append(result)


def percentile(values: list[float], share: float) -> float | None:
    """The value below which this share of the values lies; None of none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else None


def as_dict(observer: Observer) -> dict[str, Any]:
    """The counts, for the status page."""
    seconds = list(observer.first_token_seconds)

    def ms(share: float) -> float | None:
        value = percentile(seconds, share)
        return None if value is None else round(1e3 * value, 2)

    return {"first_token_ms": {"p50": ms(0.5), "p95": ms(0.95)}}
