"""How suitable a model is for a task: what was recorded of its answers, against what they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_STRENGTH = 2.0  # answers that the prior counts for


@dataclass(frozen=True)
class Candidate:
    """A model that may answer, as far as a choice depends on it.

    has_adapter  it has the intent's adapter, or none is wanted
    is_healthy   its breaker lets requests through
    fits         prompt and answer have room in its context; of a model that is not loaded nobody knows, so they have
    is_capable   it has the capabilities that are needed
    prior        the share of good answers that is expected before any was judged
    judged, good, failed   answers at this task, older ones counting less
    ms           that its answer will take; None: it has given none yet
    """

    model: str
    has_adapter: bool = True
    is_healthy: bool = True
    fits: bool = True
    is_capable: bool = True
    prior: float = 0.5
    judged: float = 0.0
    good: float = 0.0
    failed: float = 0.0
    ms: float | None = None

    def left_out(self, budget_ms: float | None) -> str:
        """Why it cannot be asked, or ""."""
        if not self.has_adapter:
            return "adapter"
        if not self.is_healthy:
            return "health"
        if not self.fits:
            return "context"
        if not self.is_capable:
            return "capability"
        return "budget" if budget_ms is not None and self.ms is not None and self.ms > budget_ms else ""


@dataclass(frozen=True)
class Score:
    """`quality`: expected share of good answers; `spread`: its standard deviation; `cost`: 1 of the slowest model;
    `total` is what is compared."""

    quality: float
    spread: float
    cost: float
    total: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON, rounded: it is read, not computed with."""
        return {name: round(value, 4) for name, value in vars(self).items()}


def calculate_model_score(candidate: Candidate, slowest_ms: float, cost: float, explore: float = 0.0) -> Score:
    """The posterior mean of its quality, and `explore` times its uncertainty, less `cost` times its time. A failed
    answer is a bad one. A model without an answer yet costs nothing: what it costs is soon known."""
    good = candidate.prior * _STRENGTH + candidate.good
    bad = (1 - candidate.prior) * _STRENGTH + max(0.0, candidate.judged - candidate.good) + candidate.failed
    n = good + bad
    spread = math.sqrt(good * bad / (n * n * (n + 1)))
    share = candidate.ms / slowest_ms if candidate.ms is not None and slowest_ms > 0 else 0.0
    return Score(good / n, spread, share, good / n + explore * spread - cost * share)


def slowest(candidates: Sequence[Candidate]) -> float:
    """The longest time of those that have one."""
    return max((each.ms for each in candidates if each.ms is not None), default=0.0)
