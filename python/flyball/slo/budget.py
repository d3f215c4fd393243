"""Error budgets, and how fast they burn: the windows of the SRE workbook (chapter 5) over counters of good iterations.

An iteration is good if it meets every target of its scenario. A burn rate of 1 uses the whole budget in 30 days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .history import Line
from .record import Case
from .targets import Targets

HOUR = 3600.0
LEAST = 20  # iterations in a window; a rate of fewer says nothing
PERIOD = 30 * 24 * HOUR


@dataclass(frozen=True)
class Window:
    """Alert if the budget burns `rate` times too fast over both times, in seconds; by then `share` of it is used."""

    kind: str
    rate: float
    long: float
    short: float
    share: float


WINDOWS = (
    Window("page", 14.4, HOUR, HOUR / 12, 0.02),
    Window("page", 6.0, 6 * HOUR, HOUR / 2, 0.05),
    Window("ticket", 1.0, 72 * HOUR, 6 * HOUR, 0.10),
)


@dataclass(frozen=True)
class Counter:
    """Iterations of a run, at its time."""

    time: float
    good: int
    all: int


@dataclass(frozen=True)
class Burn:
    """A window's rates; None: fewer than LEAST iterations. `most`: the highest rate that this objective can have."""

    window: Window
    long: float | None
    short: float | None
    n_long: int
    n_short: int
    most: float

    @property
    def state(self) -> str:
        """alert, quiet, unknown (too few iterations), or blind: not even all failing would reach the rate."""
        if self.most < self.window.rate:
            return "blind"
        if self.long is None or self.short is None:
            return "unknown"
        return "alert" if min(self.long, self.short) >= self.window.rate else "quiet"


@dataclass(frozen=True)
class Budget:
    """Of the last 30 days. `left`: share of the budget that is left, below zero if overspent; None: too few."""

    good: int
    all: int
    left: float | None
    burns: tuple[Burn, ...]


def is_good(case: Case, i: int, targets: Targets) -> bool:
    """Whether an iteration meets all targets. That of p95 is the limit of one iteration: 5 % may miss it."""
    return (
        case.ms[i] <= targets.latency_p95_ms
        and case.first_token_ms[i] <= targets.first_token_ms
        and case.tokens_per_second[i] >= targets.tokens_per_second
        and case.peak_memory_mb[i] <= targets.peak_memory_mb
    )


def counters(line: Line, targets: Targets) -> list[Counter]:
    """Of all runs of a line."""
    found = []
    for entry in line.entries:
        n = len(entry.case.ms)
        found.append(Counter(entry.run.time, sum(is_good(entry.case, i, targets) for i in range(n)), n))
    return found


def budget(found: Sequence[Counter], objective: float, now: float) -> Budget:
    """The budget at a time."""
    good, every = _within(found, now, PERIOD)
    allowed = (1 - objective) * every
    left = 1 - (every - good) / allowed if every >= LEAST else None
    return Budget(good, every, left, tuple(_burn(found, objective, now, window) for window in WINDOWS))


def _burn(found: Sequence[Counter], objective: float, now: float, window: Window) -> Burn:
    rates: list[float | None] = []
    counts = []
    for seconds in (window.long, window.short):
        good, every = _within(found, now, seconds)
        rates.append((every - good) / every / (1 - objective) if every >= LEAST else None)
        counts.append(every)
    return Burn(window, rates[0], rates[1], counts[0], counts[1], 1 / (1 - objective))


def _within(found: Sequence[Counter], now: float, seconds: float) -> tuple[int, int]:
    inside = [counter for counter in found if now - seconds < counter.time <= now]
    return sum(counter.good for counter in inside), sum(counter.all for counter in inside)
