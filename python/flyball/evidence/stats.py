"""Statistics for noisy measurements: exact tests, bounds, and corrections for repeated looks.

They use SciPy, which the extra `reliability` installs.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import NotFound

if TYPE_CHECKING:
    import numpy as np  # functions import it: commands that only read results do not need it


def scipy(module: str) -> Any:
    """Import a SciPy module on first use, as commands that only read results do not need it."""
    try:
        return importlib.import_module(f"scipy.{module}")
    except ImportError:
        raise NotFound("scipy", "is not installed; pip install 'flyball[reliability]' installs it") from None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: p-values that can all be compared with one significance level."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def larger_p(log_ratios: Sequence[float]) -> float:
    """One-sided p-value of Wilcoxon's signed-rank test that the ratios of pairs are larger than one."""
    if not any(log_ratios):
        return 1.0
    return float(scipy("stats").wilcoxon(log_ratios, alternative="greater").pvalue)


def median_lower_bound(values: Sequence[float], confidence: float) -> float:
    """Distribution-free lower bound of the median from order statistics; -inf for too few values."""
    ordered = sorted(values)
    # The i-th smallest (from 0) is below the median with probability 1 - P(Bin(n, 1/2) <= i).
    i = int(scipy("stats").binom.ppf(1 - confidence, len(ordered), 0.5)) - 1
    return ordered[i] if i >= 0 else -math.inf


def share_bounds(n_hits: int, n: int, confidence: float) -> tuple[float, float]:
    """One-sided Clopper-Pearson bounds of a share, each at this confidence."""
    if n == 0:
        return 0.0, 1.0
    lower = float(scipy("special").betaincinv(n_hits, n - n_hits + 1, 1 - confidence)) if n_hits else 0.0
    upper = float(scipy("special").betaincinv(n_hits + 1, n - n_hits, confidence)) if n_hits < n else 1.0
    return lower, upper


def wilson_interval(n_hits: int, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval of a share, both sides together at this confidence."""
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center, spread = n_hits + z * z / 2, z * math.sqrt(n_hits * (n - n_hits) / n + z * z / 4)
    return max(0.0, center - spread) / (n + z * z), min(n + z * z, center + spread) / (n + z * z)


def larger_share_p(hits: int, n: int, baseline_hits: int, baseline_n: int) -> float:
    """Fisher's exact one-sided p-value that the share is larger than the baseline's."""
    return float(scipy("stats").hypergeom.sf(hits - 1, n + baseline_n, hits + baseline_hits, n))


class Contingency(NamedTuple):
    """Two counts over the union of their categories."""

    names: list[str]
    baseline: np.ndarray[Any, np.dtype[np.int64]]
    current: np.ndarray[Any, np.dtype[np.int64]]


def contingency(baseline: Mapping[str, int], current: Mapping[str, int], other: str) -> Contingency:
    """The contingency table; categories that the baseline lacks share the cell `other`."""
    import numpy as np

    names = [*sorted(baseline), other]
    unseen = sum(count for name, count in current.items() if name not in baseline)
    return Contingency(
        names,
        np.array([*(baseline[name] for name in names[:-1]), 0]),
        np.array([*(current.get(name, 0) for name in names[:-1]), unseen]),
    )


_BLOCK, _ENOUGH = 2000, 20
_SCREEN = 0.01  # asymptotic p-value below which the exact one is computed


def same_distribution_p(table: Contingency, n_permutations: int = 60_000, seed: int = 0) -> float:
    """Permutation p-value (fixed margins, chi-square statistic) that both counts have the same distribution.

    Draws in blocks, and stops early once the p-value is certainly large (Besag and Clifford).
    """
    total = table.baseline + table.current
    total = total[total > 0]
    n, of = int(table.current.sum()), int(total.sum())
    if len(total) < 2 or n == 0 or n == of:
        return 1.0
    expected = total * (n / of)
    # With fixed margins the other row's term is proportional to this one's.
    observed = float((((table.current[table.baseline + table.current > 0] - expected) ** 2) / expected).sum())
    scale = of / (of - n)
    if float(scipy("special").chdtrc(len(total) - 1, observed * scale)) > _SCREEN:
        return 1.0  # far above any level, so the exact value does not matter
    import numpy as np

    random = np.random.default_rng(seed)
    n_drawn = n_extreme = 0
    while n_drawn < n_permutations and n_extreme < _ENOUGH:
        drawn = random.multivariate_hypergeometric(total, n, size=_BLOCK)
        statistics = (((drawn - expected) ** 2) / expected).sum(axis=1)
        n_extreme += int(np.count_nonzero(statistics >= observed * (1 - 1e-12)))
        n_drawn += _BLOCK
    return (1 + n_extreme) / (1 + n_drawn)


def effect_sizes(table: Contingency) -> dict[str, float]:
    """Population stability index and Jensen-Shannon distance, with half a count added to each cell."""
    import numpy as np

    p = (table.baseline + 0.5) / (table.baseline + 0.5).sum()
    q = (table.current + 0.5) / (table.current + 0.5).sum()
    middle = (p + q) / 2
    divergence = 0.5 * float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum())
    return {"psi": float(((q - p) * np.log(q / p)).sum()), "jensen_shannon": math.sqrt(max(divergence, 0.0))}


def detectable_ratio(log_ratios: Sequence[float]) -> float:
    """The smallest ratio that this many pairs with this spread detect with a power of 80 % at a level of 1 %.

    A normal approximation; in simulations, Wilcoxon's test of 25 pairs had a power of 72 %.
    """
    import numpy as np

    spread = float(np.std(log_ratios, ddof=1)) if len(log_ratios) > 1 else math.inf
    return math.exp(3.17 * spread / math.sqrt(len(log_ratios))) if log_ratios else math.inf


class Summary(NamedTuple):
    """A summary of some numbers."""

    n: int
    mean: float
    p50: float
    p95: float
    p99: float


def summary(values: Sequence[float]) -> Summary | None:
    """The summary of `values`; None if there are none."""
    if not values:
        return None
    import numpy as np

    p50, p95, p99 = (float(x) for x in np.percentile(values, (50, 95, 99)))
    return Summary(len(values), float(np.mean(values)), p50, p95, p99)


class Sprt(NamedTuple):
    """Wald's sequential test of a share, `good` against `bad`; it may be evaluated after every observation.

    `miss`: probability of accepting a bad share; `alarm`: probability of rejecting a good one.
    """

    good: float
    bad: float
    miss: float
    alarm: float

    def decide(self, n_hits: int, n: int) -> bool | None:
        """True: bad. False: good. None: more observations are needed."""
        ratio = n_hits * math.log(self.bad / self.good) + (n - n_hits) * math.log((1 - self.bad) / (1 - self.good))
        if ratio >= math.log((1 - self.miss) / self.alarm):
            return True
        return False if ratio <= math.log(self.miss / (1 - self.alarm)) else None
