"""Drift detection: whether a cost became higher than its baseline, by a CUSUM over the runs and a test of this run.

Costs are multiples of a reference workload measured in turn with them, so that a slower machine is no slow-down. The
CUSUM (one-sided, checked every run) finds small slow-downs and no single spike: a run counts for at most CLIP standard
deviations. The step test finds large ones in the run in which they appear; the caller measures those again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import InvalidArgument

LEAST_RUNS = 10  # in a baseline
MOST_RUNS = 20  # in a baseline whose first runs vary too much
SLACK = 0.75  # standard deviations above the baseline that do not count
ALARM = 8.0  # the sum that is a slow-down
CLIP = 4.0
WINDOW = 7
STEP = 2.0  # ratio to the baseline that is a step, if it is also _STEP_SPREADS away
_STEP_SPREADS = 6.0
_LEARNED = 3  # runs after which a step is seen while the baseline is learned
_VISIBLE = 2.4  # standard deviations of a shift that the CUSUM finds within ten runs, in 95 %
_MOST = 2 * ALARM  # cap of the sum, so that the alarm ends soon after a long slow-down is fixed
_LEAST_SPREAD = 0.025  # of the logarithm: the measured effect of other load on the machine
_WIDEN = 2.5  # runs: the spread of n runs is uncertain by about 1 / n of this
_SPIKES = 5  # one run in so many may be a spike, and does not count for the spread
_WITHOUT_SPIKES = 1.31  # standard deviation of a normal distribution over that of its lower four fifths


@dataclass(frozen=True)
class Cost:
    """A run's cost. `noise`: of its logarithm, a standard deviation; None: unknown.

    `inflation`: the factor by which contention that could not be measured out may have raised it.
    """

    value: float
    noise: float | None = None
    inflation: float = 1.0

    def visible(self, spread: float = 0.0) -> float:
        """The smallest slow-down that ten such runs show, beside a baseline of that spread: a ratio."""
        return math.exp(min(_VISIBLE * max(spread, self.noise or 0.0), 100.0)) * self.inflation


@dataclass(frozen=True)
class Baseline:
    """Median and spread of the logarithm of a cost over `n` runs."""

    center: float
    spread: float
    n: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and 0 < self.spread < math.inf):
            raise InvalidArgument("baseline", f"has center {self.center} and spread {self.spread}; set another one")

    @classmethod
    def of(cls, values: Sequence[float]) -> Baseline:
        """The baseline of at least three costs."""
        logs = sorted(math.log(value) for value in values)
        # Without the highest fifth: contention only ever raises a cost, and two levels must not look like one.
        n = len(logs)
        low = logs[: n - n // _SPIKES]
        mean = sum(low) / len(low)
        spread = _WITHOUT_SPIKES * math.sqrt(sum((x - mean) ** 2 for x in low) / (len(low) - 1))
        return cls(statistics.median(logs), max(_LEAST_SPREAD, (1 + _WIDEN / n) * spread), n)

    @property
    def visible(self) -> float:
        """The smallest slow-down that can be seen against it: a ratio."""
        return Cost(1.0).visible(self.spread)


def learn(costs: Sequence[Cost], visible: float) -> tuple[Baseline | None, list[Cost]]:
    """The baseline of the first quiet runs, and the costs that follow it; None before there are three runs.

    Of ten runs; of up to twenty while they could not show a slow-down of `visible`. With fewer the baseline is
    provisional. A step up is not learned, and a step down begins anew.
    """
    kept: list[float] = []
    for i, cost in enumerate(costs):
        if len(kept) >= LEAST_RUNS:
            found = Baseline.of(kept)
            if found.visible <= visible or len(kept) >= MOST_RUNS:
                return found, list(costs[i:])
        if cost.visible() > visible:
            continue
        ratio = cost.value / statistics.median(kept) if len(kept) >= _LEARNED else 1.0
        if ratio < 1 / STEP:
            kept = []
        if ratio < STEP:
            kept.append(cost.value)
    return (Baseline.of(kept) if len(kept) >= _LEARNED else None), []


class Drift(NamedTuple):
    """This run, the window and the tests, apart.

    `run`, `window`: costs of this run, and the median of the newest `n_window` quiet ones, over the baseline's.
    `sum`: the CUSUM, from `alarm` on a slow-down if `window` reaches the least ratio too: `slower`. `step`: this run is
    at or above `step_from`. `visible`: the smallest slow-down that such runs show. `contended`: too large to judge.
    """

    run: float
    window: float
    n_window: int
    sum: float
    alarm: float
    slower: bool
    step_from: float
    step: bool
    visible: float
    contended: bool


def drift(baseline: Baseline, earlier: Sequence[Cost], now: Cost, least_ratio: float, visible: float) -> Drift:
    """Judge `now` after `earlier` (those since the baseline, oldest first).

    `least_ratio`: below it, nothing is a slow-down. `visible`: what a run must be able to show; those that cannot push
    no CUSUM.
    """
    quiet = [cost.value for cost in (*earlier, now) if cost.visible(baseline.spread) <= visible]
    total = 0.0
    for value in quiet:
        deviation = (math.log(value) - baseline.center) / baseline.spread
        total = min(max(0.0, total + min(deviation, CLIP) - SLACK), _MOST)
    newest = quiet[-WINDOW:]
    window = math.exp(statistics.median(map(math.log, newest)) - baseline.center) if newest else 1.0
    contended = now.visible(baseline.spread) > visible
    run = math.exp(math.log(now.value) - baseline.center)
    spread = max(baseline.spread, now.noise or 0.0)
    step_from = max(STEP, math.exp(min(_STEP_SPREADS * spread, 100.0))) * now.inflation
    return Drift(
        run=run,
        window=window,
        n_window=len(newest),
        sum=total,
        alarm=ALARM,
        slower=not contended and total >= ALARM and window >= least_ratio,
        step_from=step_from,
        step=run >= step_from,
        visible=now.visible(baseline.spread),
        contended=contended,
    )
