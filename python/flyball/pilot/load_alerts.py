"""The alerts of load runs, by week and component, for the weekly page."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, NotFound
from ..load import alerts
from ..load.thresholds import Threshold
from .weeks import week_of


@dataclass(frozen=True)
class Breach:
    """An alert. `observed`: infinite where what was waited for never came."""

    week: str
    component: str
    threshold: Threshold
    observed: float

    @property
    def factor(self) -> float:
        """How many times its limit, or for a lower limit which part of it was missed."""
        value, limit = self.observed, self.threshold.limit
        above, below = (value, limit) if self.threshold.relation in ("<", "<=") else (limit, value)
        return above / below if below else math.inf

    @property
    def said(self) -> str:
        """Metric, limit and what was observed."""
        observed = f"{self.observed:.4g}" if math.isfinite(self.observed) else "never"
        return f"{self.threshold.metric} {self.threshold}: {observed}"


@dataclass(frozen=True)
class Component:
    """The alerts of a flow in a week. `worst`: the one that is farthest beyond its limit."""

    week: str
    component: str
    n: int
    worst: Breach


@dataclass(frozen=True)
class LoadAlerts:
    """All alerts of a file, oldest week first. `missing`: there is no file; `n_broken`: lines that are no alert."""

    file: str
    missing: bool
    components: tuple[Component, ...]
    n_broken: int

    def of(self, week: str) -> tuple[Component, ...]:
        """Those of a week."""
        return tuple(each for each in self.components if each.week == week)


def read(path: Path) -> LoadAlerts:
    """Read a file (untrusted). A file that is not there has no alerts; raises FileError if it cannot be read."""
    try:
        found = alerts.read(path)
    except NotFound:
        return LoadAlerts(str(path), True, (), 0)
    by_place: dict[tuple[str, str], list[Breach]] = defaultdict(list)
    n_broken = len(found.broken)
    for entry in found.entries:
        if (breach := _breach(entry)) is None:
            n_broken += 1
        else:
            by_place[breach.week, breach.component].append(breach)
    components = [
        Component(week, name, len(each), max(each, key=lambda breach: breach.factor))
        for (week, name), each in sorted(by_place.items())
    ]
    return LoadAlerts(str(path), False, tuple(components), n_broken)


def _breach(entry: Mapping[str, Any]) -> Breach | None:
    """None: it is no alert of flyball load."""
    component, observed = entry.get("component"), entry.get("observed")
    try:
        seconds = datetime.fromisoformat(entry["time"]).replace(tzinfo=UTC).timestamp()
        threshold = Threshold.of(entry["metric"], entry["threshold"])
        value = math.inf if observed is None else float(observed)
    except (KeyError, TypeError, ValueError, OverflowError, InvalidArgument):
        return None
    if not isinstance(component, str) or isinstance(observed, bool | str) or not value >= 0:
        return None
    return Breach(week_of(seconds), component, threshold, value)
