"""Compare results with earlier ones: digests, counters and times (docs/benchmark-pack.md).

Digests and counters are exact and always compared. Times fail a build only if they were measured in pairs and a test, a
bound and a second measurement agree; otherwise a suspected slow-down is inconclusive.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..errors import InvalidArgument
from ..evidence import stats
from ..evidence.gates import Outcome, Verdict, failed, inconclusive, passed
from .results import CaseResult, Pairs, Results

LEAST_PAIRS = 7
_LEVEL = 0.01  # significance level of the tests of all cases together
_MOST_NAMED = 3  # cases in a message; the evidence has all
_ORDER = (
    *("BENCH_VANISHED", "BENCH_DIGEST", "BENCH_COUNTER"),
    *("BENCH_SLOWER", "BENCH_OVER_LIMIT", "BENCH_WATCH", "BENCH_PASSED"),
)


@dataclass(frozen=True)
class Bounds:
    """The largest ratios of current to base that pass.

    `regressions`: whether times that were not measured in pairs fail, too; only a quiet machine makes that sensible.
    """

    slow_down: float = 1.03
    counters: float = 1.01
    regressions: bool = False

    def __post_init__(self) -> None:
        for name in ("slow_down", "counters"):
            ratio = getattr(self, name)
            if not 1 <= ratio < math.inf:  # against nan and infinity nothing would ever fail
                raise InvalidArgument(name, f"is {ratio}, must be a ratio from 1 on")


@dataclass(frozen=True)
class Times:
    """Times of a case's pairs: median ratio of current to base with lower bound, adjusted p-value, detectable ratio.

    `needed`: the minimum number of pairs to detect a slow-down. `slower`: according to test and bound.
    """

    ratio: float
    lower: float
    p: float
    detectable: float
    n: int
    needed: int
    slower: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity."""
        return {
            "ratio": self.ratio,
            "lower": self.lower if self.lower > 0 else None,
            "p": self.p,
            "detectable": self.detectable if math.isfinite(self.detectable) else None,
            "pairs": self.n,
            "pairs_needed": self.needed,
        }


class Timing(Enum):
    """How the times of two results can be compared."""

    NONE = "not compared"
    UNPAIRED = "not measured in pairs"
    PAIRED = "measured in pairs"


@dataclass(frozen=True)
class Row:
    """A case in both runs or one of them, and its verdict."""

    case: str
    base: CaseResult | None
    current: CaseResult | None
    times: Times | None
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        both = {"base": self.base, "current": self.current}
        return {
            "case": self.case,
            "digest": {name: side and side.digest for name, side in both.items()},
            "counters": {name: side and side.counters for name, side in both.items()},
            "instructions": {name: side and side.instructions for name, side in both.items()},
            "ms": {name: side and side.median_ms for name, side in both.items()},
            "prefill_cycles_per_token": {name: side and side.prefill for name, side in both.items()},
            "decode_cycles_per_token": {name: side and side.decode for name, side in both.items()},
            "times": self.times and self.times.as_dict(),
            "verdict": self.verdict.as_dict(),
        }


@dataclass(frozen=True)
class Comparison:
    """All cases and the overall verdict."""

    rows: list[Row]
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"schema": 1, "verdict": self.verdict.as_dict(), "cases": [row.as_dict() for row in self.rows]}


def compare(base: Results, current: Results, bounds: Bounds | None = None) -> Comparison:
    """Compare two runs that were not measured in turn."""
    return _compare(base, current, bounds or Bounds(), Timing.UNPAIRED, {}, None)


def compare_pairs(pairs: Pairs, bounds: Bounds | None = None) -> Comparison:
    """Compare two builds that were measured in turn."""
    bounds = bounds or Bounds()
    again = None
    if pairs.again is not None:
        again = {name for name, times in paired_times(pairs.again, bounds).items() if times.slower}
    return _compare(pairs.base, pairs.current, bounds, Timing.PAIRED, paired_times(pairs, bounds), again)


def suspects(pairs: Pairs, bounds: Bounds | None = None) -> list[str]:
    """Cases that seem slower, for a second measurement to confirm."""
    return sorted(name for name, times in paired_times(pairs, bounds or Bounds()).items() if times.slower)


def paired_times(pairs: Pairs, bounds: Bounds) -> dict[str, Times]:
    """Times of all cases with the same answer on both sides; times of different answers are not comparable."""
    base, current = pairs.base.cases, pairs.current.cases
    logs = {
        name: [math.log(b / a) for a, b in zip(base[name].ms, current[name].ms, strict=True)]
        for name in base
        if name in current and base[name].digest == current[name].digest
    }
    adjusted = stats.holm([stats.larger_p(ratios) for ratios in logs.values()])
    # The smallest p-value of n pairs is 2^-n, and Holm's method multiplies it by the number of cases.
    needed = max(LEAST_PAIRS, math.ceil(math.log2(max(len(logs), 1) / _LEVEL)))
    found = {}
    for (name, ratios), p in zip(logs.items(), adjusted, strict=True):
        lower = math.exp(stats.median_lower_bound(ratios, 1 - _LEVEL))
        found[name] = Times(
            ratio=math.exp(statistics.median(ratios)),
            lower=lower,
            p=p,
            detectable=stats.detectable_ratio(ratios),
            n=len(ratios),
            needed=needed,
            slower=len(ratios) >= LEAST_PAIRS and p < _LEVEL and lower > bounds.slow_down,
        )
    return found


def _compare(
    base: Results,
    current: Results,
    bounds: Bounds,
    timing: Timing,
    times: Mapping[str, Times],
    again: Collection[str] | None,
) -> Comparison:
    if why := incomparable(base, current):
        raise InvalidArgument("current", f"is not comparable with base: {why}; run the same pack on both")
    same_machine = base.machine["digest"] == current.machine["digest"]
    why = "" if same_machine else "on another machine"
    if not why and base.threads != current.threads:
        why = "with a different thread count"
    rows = judge(
        base.cases,
        current.cases,
        bounds,
        Timing.NONE if why else timing,
        times,
        again,
        gone=current.failures,
        instructions=same_machine and base.isa == current.isa,
    )
    verdict = overall(rows, bounds, f"measured {why}" if why else timing.value)
    if bounds.regressions and why and verdict.outcome is Outcome.PASS:
        message = f"{verdict.message}: whether it is slower is not known"
        verdict = inconclusive("BENCH_WATCH", message, "measure both on one machine", **verdict.evidence)
    return Comparison(rows, verdict)


def incomparable(base: Results, current: Results) -> str:
    """Why the answers of two results cannot be compared, or ""."""
    for name, what in (("corpus", "corpus"), ("fingerprint", "model"), ("seed", "seed")):
        sides = (getattr(base, name), getattr(current, name))
        if sides[0] != sides[1]:
            return f"another {what}, {sides[0]!s:.12} in base and {sides[1]!s:.12} in current"
    return ""


def judge(
    base: Mapping[str, CaseResult],
    current: Mapping[str, CaseResult],
    bounds: Bounds,
    timing: Timing = Timing.NONE,
    times: Mapping[str, Times] | None = None,
    again: Collection[str] | None = None,
    gone: Mapping[str, str] | None = None,
    instructions: bool = False,
) -> list[Row]:
    """Judge each case. `again`: cases that a second measurement found slower, None without one. `gone`: causes."""
    rows = []
    for name in dict.fromkeys([*base, *current, *(gone or {})]):
        before, now, paired = base.get(name), current.get(name), (times or {}).get(name)
        if now is None:
            why = (gone or {}).get(name)
            verdict = failed("BENCH_VANISHED", f"has no result: {why}" if why else "has no result")
        elif before is None:
            verdict = inconclusive("BENCH_INSUFFICIENT_DATA", "is new: there is no earlier result")
        elif before.digest != now.digest:
            verdict = failed("BENCH_DIGEST", "gives another answer", "flyball verify shows where receipts differ")
        elif grown := _grown(before, now, bounds, instructions):
            growth = ", ".join(f"{what} from {a} to {b}" for what, (a, b) in grown.items())
            verdict = failed("BENCH_COUNTER", f"does more work: {growth}", limit=bounds.counters)
        elif timing is Timing.PAIRED and paired is not None:
            verdict = _timed(paired, bounds, None if again is None else name in again)
        elif timing is Timing.UNPAIRED and (slower := _slower(before, now, bounds)):
            in_pairs = "flyball bench run --against measures in pairs"
            if bounds.regressions:
                message, limit = f"{slower}, the limit is {100 * (bounds.slow_down - 1):.3g} %", bounds.slow_down
                verdict = failed("BENCH_OVER_LIMIT", message, in_pairs, limit=limit)
            else:
                verdict = inconclusive("BENCH_WATCH", f"{slower}, but not measured in pairs", in_pairs)
        else:
            verdict = passed("BENCH_PASSED", "the same answer, no more work")
        rows.append(Row(name, before, now, paired, verdict))
    return rows


def _slower(before: CaseResult, now: CaseResult, bounds: Bounds) -> str:
    """What takes longer than the bound allows: the answer, or a decoded token."""
    both = {"takes": (before.median_ms, now.median_ms), "a decoded token takes": (before.decode, now.decode)}
    ratios = {what: b / a for what, (a, b) in both.items() if a and b}
    return ", ".join(f"{what} {ratio:.3f} x as long" for what, ratio in ratios.items() if ratio > bounds.slow_down)


def _grown(before: CaseResult, now: CaseResult, bounds: Bounds, instructions: bool) -> dict[str, tuple[int, int]]:
    counts = {name: (count, now.counters.get(name, 0)) for name, count in before.counters.items()}
    if instructions and before.instructions is not None and now.instructions is not None:
        counts["instructions"] = (before.instructions, now.instructions)
    return {name: (a, b) for name, (a, b) in counts.items() if b > bounds.counters * a}


def _timed(times: Times, bounds: Bounds, again: bool | None) -> Verdict:
    evidence = times.as_dict() | {"limit": bounds.slow_down}
    at_least = f"takes {times.ratio:.3f} x as long, at least {times.lower:.3f} x"
    if times.slower and again:
        return failed("BENCH_SLOWER", f"{at_least}, in two measurements", **evidence)
    if times.slower:
        why = "was not measured again" if again is None else "a second measurement does not confirm it"
        return inconclusive("BENCH_WATCH", f"{at_least}, but {why}", **evidence)
    more = "measure more pairs (--repeat), or on a quieter machine"
    if times.n < times.needed:
        return inconclusive("BENCH_WATCH", f"has {times.n} pairs, {times.needed} are needed", more, **evidence)
    if times.ratio > bounds.slow_down:
        message = f"takes {times.ratio:.3f} x as long, which can be chance"
        return inconclusive("BENCH_WATCH", message, more, **evidence)
    if times.detectable > bounds.slow_down:
        message = f"varies too much: only slow-downs of {times.detectable:.3f} x or more can be detected"
        return inconclusive("BENCH_WATCH", message, more, **evidence)
    return passed("BENCH_PASSED", "the same answer, no more work, not slower", **evidence)


def overall(rows: list[Row], bounds: Bounds, timing: str) -> Verdict:
    """The most severe verdict of all cases, leaving out new ones."""
    evidence: dict[str, Any] = {
        "cases": {row.case: row.verdict.reason_id for row in rows},
        "times": timing,
        "limits": {"slow_down": bounds.slow_down, "counters": bounds.counters},
    }
    known = [row for row in rows if row.verdict.reason_id != "BENCH_INSUFFICIENT_DATA"]
    if not known:
        return inconclusive("BENCH_INSUFFICIENT_DATA", "the results have no case in common", **evidence)
    reason = min((row.verdict.reason_id for row in known), key=_ORDER.index)
    if reason == "BENCH_PASSED":
        return passed(reason, f"{len(known)} cases: the same digests, no more work; times {timing}", **evidence)
    gravest = [row for row in known if row.verdict.reason_id == reason]
    message = "; ".join(f"{row.case} {row.verdict.message}" for row in gravest[:_MOST_NAMED])
    if len(gravest) > _MOST_NAMED:
        message += f"; and {len(gravest) - _MOST_NAMED} more"
    say = inconclusive if gravest[0].verdict.outcome is Outcome.INCONCLUSIVE else failed
    return say(reason, message, gravest[0].verdict.hint, **evidence)
