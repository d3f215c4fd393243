"""Thresholds, written as k6 writes them: `p(95) < 800` of a metric; and how sure a run can be that one holds."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidArgument
from . import quantiles
from .quantiles import CONFIDENCE, at_least, at_most

Verdict = Literal["pass", "fail", "undecided"]

TIMES = ("http_req_duration", "iteration_duration", "first_token", "per_token")  # milliseconds
SHARES = ("http_req_failed", "checks")
COUNTS = ("iterations", "dropped_iterations")
GOODPUT = "goodput"
METRICS = (*TIMES, *SHARES, *COUNTS, GOODPUT)
SEVERITIES = ("info", "warning", "critical")
_FORM = re.compile(r"\s*(p\(\d+(?:\.\d+)?\)|[a-z]+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Threshold:
    """A limit of a metric of one flow. `statistic`: med, max, p(N), rate or count."""

    metric: str
    statistic: str
    relation: str
    limit: float
    severity: str

    def __str__(self) -> str:
        return f"{self.statistic}{self.relation}{self.limit:g}"

    @classmethod
    def of(cls, metric: str, text: str, severity: str = "warning") -> Threshold:
        """Raises InvalidArgument for what is none, or what no run can show."""
        if metric not in METRICS:
            raise InvalidArgument("metric", f"is {metric!r}, must be one of {', '.join(METRICS)}")
        if severity not in SEVERITIES:
            raise InvalidArgument("severity", f"is {severity!r}, must be one of {', '.join(SEVERITIES)}")
        if (found := _FORM.fullmatch(text)) is None:
            raise InvalidArgument("limit", f"is {text!r}, must be like 'p(95) < 800', 'rate < 0.05' or 'count < 1'")
        made = cls(metric, found[1], found[2], float(found[3]), severity)
        made._check()
        return made

    @property
    def share(self) -> float | None:
        """Of p(95) 0.95; None where the statistic is no quantile."""
        if self.statistic == "med":
            return 0.5
        return float(self.statistic[2:-1]) / 100 if self.statistic.startswith("p(") else None

    def _check(self) -> None:
        times = self.metric in TIMES
        allowed = ("med", "max", "p(N)") if times else ("rate", "count") if self.metric in COUNTS else ("rate",)
        if not (self.statistic in allowed or ("p(N)" in allowed and self.statistic.startswith("p("))):
            about = "; an average says nothing of the slow ones" if self.statistic == "avg" else ""
            raise InvalidArgument("limit", f"has {self.statistic!r}; {self.metric} has {', '.join(allowed)}{about}")
        if self.share is not None and not 0 < self.share < 1:
            raise InvalidArgument("limit", f"has {self.statistic}, must be above p(0) and below p(100)")
        if times and self.relation in (">", ">="):
            raise InvalidArgument("limit", f"is {self}: times have upper limits, < or <=")
        if self.metric in SHARES and self.limit > 1:
            raise InvalidArgument("limit", f"is {self}: a share is from 0 to 1 (0.05: 5 %)")

    def holds(self, value: float) -> bool:
        """Whether a value is on the right side."""
        return {
            "<": value < self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            ">=": value >= self.limit,
        }[self.relation]


def judge_times(threshold: Threshold, ordered: Sequence[float]) -> tuple[Verdict, float, str]:
    """Verdict, observed value and reason, of ordered times."""
    if not ordered:
        return "undecided", math.nan, "there are no times"
    if (share := threshold.share) is None:
        value = ordered[-1]
        return ("pass" if threshold.holds(value) else "fail"), value, f"the longest of {len(ordered)} times"
    found = quantiles.quantile(ordered, share)
    bounds = f"n {len(ordered)}, with {CONFIDENCE:.0%} at least {found.low:.4g} and at most {found.high:.4g}"
    if threshold.holds(found.high):
        return "pass", found.value, bounds
    if not threshold.holds(found.low):
        return "fail", found.value, bounds
    needed = math.ceil(math.log(1 - CONFIDENCE) / math.log(share))
    few = f"; {threshold.statistic} needs at least {needed}" if len(ordered) < needed else ""
    return "undecided", found.value, bounds + few


def judge_share(threshold: Threshold, n_hits: int, n: int, limit: float | None = None) -> tuple[Verdict, float, str]:
    """As judge_times() of a share; `limit` in place of the threshold's. Limits that only all or none meet are exact."""
    limit = threshold.limit if limit is None else limit
    if n == 0:
        return "undecided", math.nan, "nothing was counted"
    value, upper = n_hits / n, threshold.relation in ("<", "<=")
    said = f"{n_hits} of {n}"
    if limit in (0, 1):
        return ("pass" if threshold.holds(value) else "fail"), value, said
    below = at_most(n_hits, n, limit) <= 1 - CONFIDENCE
    above = at_least(n_hits, n, limit) <= 1 - CONFIDENCE
    low, high = quantiles.share_bounds(n_hits, n)
    said += f", with {CONFIDENCE:.0%} at least {low:.4g} and at most {high:.4g}"
    if below or above:
        return ("pass" if below == upper else "fail"), value, said
    return "undecided", value, said
