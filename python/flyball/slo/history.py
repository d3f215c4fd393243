"""Lines of comparable runs: one machine, model, answer and number of iterations. A change of any starts a new line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..evidence import stats
from ..evidence.drift import Cost
from .record import Case, Run

# The standard deviation of the log of a lognormal sample's 95th percentile is this over sqrt(n) times the samples'.
_OF_P95 = 2.113


@dataclass(frozen=True)
class Entry:
    """A scenario in a run."""

    run: Run
    case: Case

    @property
    def p95(self) -> float:
        """Of the latency, in milliseconds."""
        return percentile(self.case.ms, "p95")

    @property
    def cost(self) -> Cost:
        """p95 without waiting, as a multiple of the reference workload, which a slower machine slows down as well."""
        return self._cost(self.case.busy_ms)

    @property
    def first_token_cost(self) -> Cost:
        """The same of the first tokens. When an iteration waited is not known: it counts as waiting all along."""
        case = self.case
        times = zip(case.first_token_ms, case.busy_ms, case.ms, strict=True)
        return self._cost([first * busy / ms for first, busy, ms in times])

    def _cost(self, busy: Sequence[float]) -> Cost:
        import numpy as np

        reference = float(np.percentile(self.case.reference_ms, 10))  # as reliability: waiting only ever adds to it
        return Cost(percentile(busy, "p95") / reference, p95_noise(busy), self.case.inflation)


@dataclass(frozen=True)
class Line:
    """Comparable entries of a scenario, oldest first; `n_other`: runs of it that are not comparable with the newest."""

    scenario: str
    entries: tuple[Entry, ...]
    n_other: int

    @property
    def newest(self) -> Entry:
        """The entry to judge."""
        return self.entries[-1]

    @property
    def of_build(self) -> tuple[Entry, ...]:
        """The newest entries that are of the newest one's build, without a break."""
        build = self.newest.run.results.build.extension
        n = next((i for i, e in enumerate(reversed(self.entries)) if e.run.results.build.extension != build), None)
        return self.entries if n is None else self.entries[len(self.entries) - n :]


def percentile(values: Sequence[float], name: str) -> float:
    """p50 or p95 of at least one value."""
    found = stats.summary(values)
    assert found is not None
    return float(getattr(found, name))


def p95_noise(ms: Sequence[float]) -> float | None:
    """What a run tells of the noise of its p95: the standard deviation of its logarithm; None for one sample."""
    if len(ms) < 2:
        return None
    import numpy as np

    return float(np.std(np.log(ms), ddof=1)) * _OF_P95 / math.sqrt(len(ms))


def lines(runs: Sequence[Run]) -> dict[str, Line]:
    """The line of each scenario to which its newest run on the newest machine with the newest model belongs."""
    now = runs[-1]
    found: dict[str, Line] = {}
    for name in dict.fromkeys(name for run in runs for name in run.cases):
        every = [Entry(run, run.cases[name]) for run in runs if name in run.cases]
        here = [entry for entry in every if _place(entry.run) == _place(now)]
        if here:
            line = tuple(entry for entry in here if _same(entry.case, here[-1].case))
            found[name] = Line(name, line, len(every) - len(line))
    return found


def _place(run: Run) -> tuple[str, str, int]:
    return run.results.machine["digest"], run.results.fingerprint, run.results.threads


def _same(case: Case, now: Case) -> bool:
    return (case.definition, case.digest, len(case.ms)) == (now.definition, now.digest, len(now.ms))
