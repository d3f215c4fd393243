"""GO, WATCH or NO-GO: pure functions of the figures of the turns. The rule is that of docs/pilot.md.

At most 5 % of all turns may be over a limit. What the turns that were played say of all turns are bounds at 95 %, so 59
turns without one over a limit are the fewest that can show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ..evidence.gates import Outcome
from ..evidence.limits import CONFLICTS, MAP_MS, MISSES, TURN_MS
from ..load.quantiles import CONFIDENCE, at_most, share_bounds

ALLOWED = MISSES
_ROUNDING = 1e-9  # one turn over the limit of one has a lower bound of 5 % exactly, which is no proof
HARD = ("turn_duration_ms", TURN_MS)
SOFT = (("map_fn_latency_ms", MAP_MS), ("conflicts", CONFLICTS))


class Verdict(StrEnum):
    """What to do."""

    GO = "GO"
    WATCH = "WATCH"
    NO_GO = "NO-GO"


@dataclass(frozen=True)
class Finding:
    """A limit: so many turns over it, and the bounds of the share of all turns that are."""

    name: str
    limit: float
    n: int
    over: int

    @property
    def bounds(self) -> tuple[float, float]:
        """One-sided, each at 95 % (Clopper and Pearson)."""
        return share_bounds(self.over, self.n)

    @property
    def outcome(self) -> Outcome:
        """Pass or fail if a bound shows it."""
        low, high = self.bounds
        if high <= ALLOWED:
            return Outcome.PASS
        return Outcome.FAIL if low > ALLOWED + _ROUNDING else Outcome.INCONCLUSIVE

    @property
    def more(self) -> int:
        """How many more turns, none of them over the limit, would show that it is kept."""
        n = self.n
        while at_most(self.over, n, ALLOWED) > 1 - CONFIDENCE:
            n += 1
        return n - self.n

    @property
    def said(self) -> str:
        """The turns over the limit, and what they say of all turns."""
        low, high = self.bounds
        of_all = f"with {100 * CONFIDENCE:.0f} % at least {100 * low:.1f} % and at most {100 * high:.1f} % of all turns"
        return (
            f"{self.name} over {self.limit:g} in {self.over} of {self.n} turns; {of_all}, allowed {100 * ALLOWED:.0f} %"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.bounds
        return asdict(self) | {"low": low, "high": high, "outcome": str(self.outcome)}


@dataclass(frozen=True)
class Decision:
    """`causes`: why it is no GO, in words; `findings`: the hard limit first."""

    verdict: Verdict
    causes: tuple[str, ...]
    findings: tuple[Finding, ...]


def decide(turn_ms: Sequence[float], map_ms: Sequence[float], conflicts: Sequence[float]) -> Decision:
    """Apply the rule to the figures of each turn."""
    figures = zip((HARD, *SOFT), (turn_ms, map_ms, conflicts), strict=True)
    findings = tuple(Finding(name, limit, len(of), sum(x > limit for x in of)) for (name, limit), of in figures)
    hard, *soft = findings
    if hard.outcome is Outcome.FAIL:
        return Decision(Verdict.NO_GO, (hard.said, *(each.said for each in soft if each.over)), findings)
    causes = [each.said for each in soft if each.outcome is Outcome.FAIL]
    open_ones = [each for each in findings if each.outcome is Outcome.INCONCLUSIVE]
    causes += [each.said + f"; undecided, {each.more} more turns within it would do" for each in open_ones if each.over]
    if any(not each.over for each in open_ones):  # all of them for the same reason
        quiet = next(each for each in open_ones if not each.over)
        names = ", ".join(f"{each.name} {each.limit:g}" for each in open_ones if not each.over)
        causes.append(f"too few turns: {quiet.n} within {names} show nothing yet; {quiet.more} more are needed")
    return Decision(Verdict.WATCH if causes else Verdict.GO, tuple(causes), findings)
