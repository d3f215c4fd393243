"""Quality: the share and the longest streaks of harmful changes by the policy, among those whose outcome is decided."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from ...evidence.gates import Outcome, Verdict, failed, inconclusive, passed
from ...evidence.stats import share_bounds
from ..context import Context
from ..results import Record, StageResult

HARM = ("regressed", "failed")
HARMLESS = ("improved", "unchanged")  # harm would have been seen
LEAST = 5  # decided changes for a verdict
_STAGES = ("journals", "scenario")  # whose changes count
_CONFIDENCE = 0.999  # high, as the gate is evaluated after every run
_DIFFERING = 5  # the fewest differing pairs of answers that are beyond chance: one of 32
_SHARES = (0.5, 0.7, 0.9)  # of worsened answers, to state the power for


class Change(NamedTuple):
    """An applied change. `pairs`: of answers that could have become worse."""

    action: str
    outcome: str
    pairs: int = 0

    @property
    def decided(self) -> bool:
        """Whether its outcome is evidence; an inconclusive one is none, of harm or of its absence."""
        return self.outcome in HARM or self.outcome in HARMLESS


def run(context: Context) -> StageResult:
    """Evaluate the newest changes since the last quarantine."""
    about = context.values("preflight")
    model, memory = model_class(about.get("shape", {})), memory_tier(about.get("memory_mb", 0))
    share, streak, provenance = effective(context, model, memory)
    changes = judged(context.since(str(context.heal.get("counted_from", "")))) + changes_of(context)
    window = int(context.limits.quality_window)
    decided = [change for change in changes if change.decided][-window:]
    n_harm = sum(change.outcome in HARM for change in decided)
    values = {
        "n": len(decided),
        "undecided": sum(not change.decided for change in changes[-window:]),
        "harmful": n_harm,
        "harmful_share": n_harm / len(decided) if decided else None,
        "harmful_streak": longest_streak(decided)[0],
        "power": power(decided),
        "model_class": model,
        "memory_tier": memory,
        "limits": provenance,
    }
    return StageResult("quality", judge(decided, changes[-window:], share, streak), values)


def judge(decided: Sequence[Change], newest: Sequence[Change], share: float, streak: int) -> Verdict:
    """Compare the streak, and the lower bound of the share, with their limits. `newest`: undecided ones, too."""
    n_harm, (longest, action) = sum(change.outcome in HARM for change in decided), longest_streak(decided)
    message = f"{n_harm} of {len(decided)} decided changes did harm, {longest} in a row{action and f' by {action}'}"
    n_undecided = sum(not change.decided for change in newest)
    message += f", {n_undecided} more are undecided" if n_undecided else ""
    hint = "the policy is bounded now; flyball journal explain shows the effect of each change"
    if longest >= streak:
        return failed("QUALITY_HARMFUL_STREAK", f"{message}; the limit is {streak}", hint, streak=longest, limit=streak)
    lower, upper = share_bounds(n_harm, len(decided), _CONFIDENCE)
    if lower > share:
        message += f": at least {lower:.0%}, the limit is {share:.0%}"
        return failed("QUALITY_HARMFUL_SHARE", message, hint, lower=lower, limit=share)
    evidence: dict[str, Any] = {"n": len(decided), "undecided": n_undecided, "power": power(decided)}
    if len(newest) - n_undecided >= LEAST:
        return passed("QUALITY_PASSED", message, lower=lower, upper=upper, limit=share, **evidence)
    message += f"; a verdict needs {LEAST}"
    if len(newest) >= LEAST:
        hint = "flyball journal explain shows how many answers could be compared; do not rely on these changes"
        return inconclusive("QUALITY_UNDECIDED", message, hint, **evidence)
    return inconclusive("QUALITY_INSUFFICIENT_DATA", message, "run again", **evidence)


def judged(history: Sequence[Record]) -> list[Change]:
    """Applied changes, oldest first."""
    return [change for record in history for change in changes_of(record)]


def changes_of(run: Context | Record) -> list[Change]:
    """Applied changes of a run. In one that did not pass, harm was seen and its absence was not."""
    results = run.results if isinstance(run, Context) else run.stages
    found = []
    for stage in _STAGES:
        whole = stage in results and results[stage].verdict.outcome is Outcome.PASS
        for change in run.values(stage).get("applied", []):
            seen = whole or change["outcome"] in HARM
            outcome = change["outcome"] if seen else "inconclusive"
            found.append(Change(change["action"], outcome, change.get("pairs", 0)))
    return found


def longest_streak(changes: Iterable[Change]) -> tuple[int, str]:
    """The longest run of harmful outcomes of one action, and that action; harmless changes of others end no streak."""
    current: Counter[str] = Counter()
    longest, by = 0, ""
    for action, outcome, _ in changes:
        if outcome in HARM:
            current[action] += 1
            if current[action] > longest:
                longest, by = current[action], action
        elif outcome in HARMLESS:
            current[action] = 0
    return longest, by


def power(decided: Sequence[Change]) -> dict[str, Any] | None:
    """The probability that a change shows as harmful, by the share of answers that it makes worse.

    For the fewest pairs of answers that decided one of these changes; None without pairs.
    """
    pairs = min((change.pairs for change in decided if change.pairs), default=0)
    if not pairs:
        return None
    return {"pairs": pairs, "seen": {f"{share:.0%}": round(harm_is_seen(pairs, share), 3) for share in _SHARES}}


@cache
def harm_is_seen(pairs: int, share: float) -> float:
    """The probability of OUTCOME_REGRESSED if a change makes this share of its answers worse and none better."""
    return math.fsum(math.comb(pairs, n) * share**n * (1 - share) ** (pairs - n) for n in range(_DIFFERING, pairs + 1))


def model_class(shape: dict[str, int]) -> str:
    """tiny, medium or large by width and layers; unknown without a shape."""
    if not shape:
        return "unknown"
    for name, width, layers in (("tiny", 320, 8), ("medium", 1024, 20)):
        if shape["width"] <= width and shape["layers"] <= layers:
            return name
    return "large"


def memory_tier(memory_mb: int) -> str:
    """low, mid or high."""
    return "low" if memory_mb < 2048 else "mid" if memory_mb < 4096 else "high"


# Stricter for a tiny model with much memory; more lenient for a large one or little memory, where changes are riskier.
_STRICT, _LENIENT, _UNKNOWN = (-0.10, -1), (0.15, 1), (0.05, 0)


def effective(context: Context, model: str, memory: str) -> tuple[float, int, list[dict[str, Any]]]:
    """The limits of share and streak, and their provenance."""
    limits = context.limits
    by, source = (0.0, 0), ""
    if limits.adapt_quality:
        if model == "large" or memory == "low":
            by, source = _LENIENT, f"{model} model, {memory} memory: more lenient"
        elif model == "tiny" and memory == "high":
            by, source = _STRICT, f"{model} model, {memory} memory: stricter"
        elif model == "unknown":
            by, source = _UNKNOWN, "unknown model: a little more lenient"
    share, streak = max(0.15, limits.harmful_share + by[0]), max(2, int(limits.harmful_streak) + by[1])
    provenance = limits.effective("harmful_share", "harmful_streak", "quality_window")
    if source:
        provenance += [
            {"name": "harmful_share, effective", "value": share, "source": source},
            {"name": "harmful_streak, effective", "value": streak, "source": source},
        ]
    return share, streak, provenance
