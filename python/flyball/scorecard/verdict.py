"""The verdict: keep small, try 3-8B, or need bigger. Pure functions of figures that were measured.

The rule is that of docs/scorecard.md. Each part of it passes, fails or is undecided; the verdict is given only where it
does not depend on what is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..evidence.gates import Outcome
from ..evidence.stats import share_bounds

NEEDED = 2 / 3  # share of a group's checks: two of the three tests that a quick look has
CONFIDENCE = 0.975  # of each bound, so 95 % of both
MOST_LATENCY_S, LEAST_TOKENS_S = 2.0, 20.0
SMALL = 3_000_000_000  # parameters; advice to try 3-8B is for models below it


class Size(StrEnum):
    """What to do."""

    KEEP_SMALL = "keep small"
    TRY_3_8B = "try 3-8B"
    NEED_BIGGER = "need bigger"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Share:
    """So many checks passed of all; a check passes if more than half of its seeds do."""

    passed: int
    n: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The Clopper-Pearson interval of 95 %."""
        return share_bounds(self.passed, self.n, CONFIDENCE)

    @property
    def outcome(self) -> Outcome:
        """Pass or fail if the whole interval is on one side of what is needed."""
        lower, upper = self.bounds
        if lower > NEEDED:
            return Outcome.PASS
        return Outcome.FAIL if upper < NEEDED else Outcome.INCONCLUSIVE


@dataclass(frozen=True)
class Decision:
    """The verdict, what each part of the rule gave, and why."""

    size: Size
    outcomes: dict[str, Outcome]
    reasons: tuple[str, ...]


def at_most(values: Sequence[float], limit: float) -> Outcome:
    """Pass or fail if all repeats are on one side of a limit."""
    if not values or min(values) <= limit < max(values):
        return Outcome.INCONCLUSIVE
    return Outcome.PASS if max(values) <= limit else Outcome.FAIL


def at_least(values: Sequence[float], limit: float) -> Outcome:
    """Pass or fail if all repeats are on one side of a limit."""
    return at_most([-value for value in values], -limit)


def decide(
    groups: Mapping[str, Share], latency_s: Sequence[float], tokens_s: Sequence[float], parameters: int | None
) -> Decision:
    """Apply the rule. `latency_s`, `tokens_s`: of each repeat; empty: unknown."""
    outcomes = {name: share.outcome for name, share in groups.items()}
    outcomes |= {"latency": at_most(latency_s, MOST_LATENCY_S), "tokens": at_least(tokens_s, LEAST_TOKENS_S)}
    quality = [outcomes[name] for name in groups]
    speed = [outcomes["latency"], outcomes["tokens"]]
    best = _heavier(quality, speed, (Outcome.FAIL,))
    worst = _heavier(quality, speed, (Outcome.FAIL, Outcome.INCONCLUSIVE))
    if best != worst:
        size = Size.UNDECIDED
    elif not best:
        size = Size.KEEP_SMALL
    elif all(outcome is Outcome.FAIL for outcome in quality) or (parameters or 0) >= SMALL:
        size = Size.NEED_BIGGER
    else:
        size = Size.TRY_3_8B
    return Decision(size, outcomes, tuple(_reasons(groups, outcomes, latency_s, tokens_s)))


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def extremes(values: Sequence[float]) -> str:
    """The least and the largest; "" if there are none."""
    return f"{figure(min(values))} to {figure(max(values))}" if values else ""


def _heavier(quality: Sequence[Outcome], speed: Sequence[Outcome], failing: tuple[Outcome, ...]) -> bool:
    """Whether the model must go, if these outcomes count as failed."""
    return any(outcome in failing for outcome in speed) or sum(outcome in failing for outcome in quality) >= 2


_WORDS = {Outcome.PASS: "passes", Outcome.FAIL: "fails", Outcome.INCONCLUSIVE: "undecided"}


def _reasons(
    groups: Mapping[str, Share], outcomes: Mapping[str, Outcome], latency_s: Sequence[float], tokens_s: Sequence[float]
) -> list[str]:
    found = []
    for name, share in groups.items():
        lower, upper = share.bounds
        between = f"{100 * lower:.0f} to {100 * upper:.0f} %"
        found.append(f"{name} {_WORDS[outcomes[name]]}: {between} of the checks, needed {100 * NEEDED:.0f} %")
    for name, values, limit in (
        ("latency", latency_s, f"at most {MOST_LATENCY_S:g} s to the first token"),
        ("tokens", tokens_s, f"at least {LEAST_TOKENS_S:g} a second"),
    ):
        found.append(f"{name} {_WORDS[outcomes[name]]}: {extremes(values) or 'not known'}, needed {limit}")
    return found
