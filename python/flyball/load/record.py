"""What a run has seen: counts and times of each flow, as they come."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from .plan import Flow, Limits, Plan
from .process import Usage

_MOST_ERRORS = 20  # kinds that are kept apart
_OTHERS = "other errors"


def times() -> array[float]:
    """A list of milliseconds that is small and has nothing for the garbage collector to look at."""
    return array("d")


@dataclass
class Record:
    """One flow. Times in milliseconds; `late_ms`: between the due time of an iteration and its beginning."""

    flow: Flow
    request_ms: array[float] = field(default_factory=times)
    n_requests: int = 0
    n_failed_requests: int = 0
    iteration_ms: array[float] = field(default_factory=times)
    first_token_ms: array[float] = field(default_factory=times)
    per_token_ms: array[float] = field(default_factory=times)
    late_ms: array[float] = field(default_factory=times)
    n_tokens: int = 0
    checks: dict[str, list[int]] = field(default_factory=dict)  # name: passes, fails
    errors: Counter[str] = field(default_factory=Counter)
    n_begun: int = 0
    running: int = 0
    n_good: int = 0
    n_dropped: int = 0
    n_unfinished: int = 0
    seconds: float = 0.0

    def request(self, took_ms: float | None, failed: bool) -> None:
        """A request has ended; None: it was canceled, and might have taken any time."""
        self.n_requests += 1
        self.n_failed_requests += failed
        if took_ms is not None:
            self.request_ms.append(took_ms)

    def check(self, name: str, good: bool) -> None:
        """A check was made."""
        self.checks.setdefault(name, [0, 0])[0 if good else 1] += 1

    def error(self, text: str) -> None:
        """Keep an error; of many kinds only the first ones by name."""
        self.errors[text if text in self.errors or len(self.errors) < _MOST_ERRORS else _OTHERS] += 1

    @property
    def n_come(self) -> int:
        """Iterations that came, whatever became of them."""
        return len(self.iteration_ms) + self.n_unfinished + self.n_dropped


def meets(limits: Limits, took_ms: float, first_ms: float | None, per_token_ms: float | None) -> bool:
    """Whether an iteration that went well was also in time. What it has not got is not late: a single token's rate."""
    return all(
        limit is None or value is None or value <= limit
        for limit, value in (
            (limits.duration_ms, took_ms),
            (limits.first_token_ms, first_ms),
            (limits.per_token_ms, per_token_ms),
        )
    )


@dataclass
class Run:
    """A whole run.

    `lag_ms`: how late the event loop was for a heartbeat; `cpu_seconds`: of this process; `stopped`: before its end.
    """

    plan: Plan
    url: str
    records: tuple[Record, ...]
    lag_ms: array[float] = field(default_factory=times)
    usage: list[Usage] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    stopped: bool = False
