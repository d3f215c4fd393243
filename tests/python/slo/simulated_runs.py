"""Histories of p95 as machines give them: lognormal iterations, and a state of the machine that lasts over runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flyball.evidence.drift import MOST_RUNS, Cost
from flyball.evidence.gates import Outcome
from flyball.slo.gate import against, learned
from flyball.slo.history import p95_noise
from flyball.slo.targets import Levels


@dataclass(frozen=True)
class Noise:
    """Standard deviations of logarithms: `within` a run, of its iterations; `between` runs, of p95 over the reference
    workload, with the correlation `lag` from one run to the next (measured: 0.41 and 0.66)."""

    within: float
    between: float
    lag: float = 0.66
    iterations: int = 30


def histories(noise: Noise, n: int, after: int, slow: float, seed: int = 20261130) -> Iterator[list[Cost]]:
    """`n` histories: the runs of a baseline, and `after` runs that take `slow` times as long."""
    random = np.random.default_rng(seed)
    runs = MOST_RUNS + after
    for _ in range(n):
        state = _state(random.standard_normal(runs), noise.lag) * noise.between
        state[MOST_RUNS:] += np.log(slow)
        ms = np.exp(noise.within * random.standard_normal((runs, noise.iterations)) + state[:, None])
        p95 = np.percentile(ms, 95, axis=1)  # as flyball.evidence.stats.summary
        yield [Cost(float(value), p95_noise(run.tolist())) for value, run in zip(p95, ms, strict=True)]


def _state(steps: npt.NDArray[np.float64], lag: float) -> npt.NDArray[np.float64]:
    state = steps.copy()
    for i in range(1, len(state)):
        state[i] = lag * state[i - 1] + np.sqrt(1 - lag * lag) * steps[i]
    return state


def outcomes(costs: list[Cost], levels: Levels) -> list[Outcome]:
    """Of every run after the baseline, until one fails."""
    found: list[Outcome] = []
    baseline, _ = learned(costs)
    assert baseline
    for n in range(MOST_RUNS, len(costs)):
        verdict = against(baseline, costs[MOST_RUNS:n], costs[n], levels.regression, levels.least_ratio)
        found.append(verdict.outcome)
        if found[-1] is Outcome.FAIL:
            break
    return found


def share_failed(noise: Noise, n: int, after: int, slow: float, levels: Levels | None = None, seed: int = 1) -> float:
    """Of histories in which any run fails."""
    return sum(fails(noise, n, after, slow, levels, seed)) / n


def share_family_failed(noise: Noise, n: int, after: int) -> float:
    """Of clean histories of a scenario in which its latency or its first tokens fail. Taken as independent, which is
    the worst case: what a machine does to one it does to the other."""
    pairs = zip(fails(noise, n, after, 1.0), fails(noise, n, after, 1.0, seed=2), strict=True)
    return sum(one or other for one, other in pairs) / n


def fails(noise: Noise, n: int, after: int, slow: float, levels: Levels | None = None, seed: int = 1) -> list[bool]:
    """Of each history, whether any of its runs fails."""
    levels = levels or Levels()
    return [outcomes(costs, levels)[-1] is Outcome.FAIL for costs in histories(noise, n, after, slow, seed)]
