"""Quality: the share and the longest streak of harmful changes by the policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...evidence.gates import Verdict, failed, inconclusive, passed
from ...evidence.stats import share_bounds
from ..context import Context
from ..results import Record, StageResult

HARM = ("regressed", "failed")
LEAST = 5  # judged changes for a verdict
_CONFIDENCE = 0.999  # high, as the gate is evaluated after every run


def run(context: Context) -> StageResult:
    """Evaluate the newest judged changes since the last quarantine."""
    about = context.values("preflight")
    model, memory = model_class(about.get("shape", {})), memory_tier(about.get("memory_mb", 0))
    share, streak, provenance = effective(context, model, memory)
    outcomes = judged(context.since(str(context.heal.get("counted_from", ""))))
    outcomes += [change["outcome"] for change in context.values("scenario").get("applied", [])]
    outcomes = outcomes[-int(context.limits.quality_window) :]
    n_harm = sum(outcome in HARM for outcome in outcomes)
    values = {
        "n": len(outcomes),
        "harmful": n_harm,
        "harmful_share": n_harm / len(outcomes) if outcomes else None,
        "harmful_streak": longest_streak(outcomes),
        "model_class": model,
        "memory_tier": memory,
        "limits": provenance,
    }
    return StageResult("quality", judge(outcomes, share, streak), values)


def judge(outcomes: Sequence[str], share: float, streak: int) -> Verdict:
    """Compare the streak, and the lower bound of the share, with their limits."""
    n_harm, longest = sum(outcome in HARM for outcome in outcomes), longest_streak(outcomes)
    message = f"{n_harm} of {len(outcomes)} applied changes did harm, {longest} in a row"
    hint = "the policy is bounded now; flyball journal explain shows the effect of each change"
    if longest >= streak:
        return failed("QUALITY_HARMFUL_STREAK", f"{message}; the limit is {streak}", hint, streak=longest, limit=streak)
    lower, upper = share_bounds(n_harm, len(outcomes), _CONFIDENCE)
    if lower > share:
        message += f": at least {lower:.0%}, the limit is {share:.0%}"
        return failed("QUALITY_HARMFUL_SHARE", message, hint, lower=lower, limit=share)
    if len(outcomes) < LEAST:
        return inconclusive("QUALITY_INSUFFICIENT_DATA", f"{message}; a verdict needs {LEAST} changes", "run again")
    return passed("QUALITY_PASSED", message, lower=lower, upper=upper, limit=share)


def judged(history: Sequence[Record]) -> list[str]:
    """Outcomes of applied changes, oldest first."""
    return [change["outcome"] for record in history for change in record.values("scenario").get("applied", [])]


def longest_streak(outcomes: Sequence[str]) -> int:
    """The longest run of harmful outcomes; an inconclusive one ends a streak."""
    longest = current = 0
    for outcome in outcomes:
        current = current + 1 if outcome in HARM else 0
        longest = max(longest, current)
    return longest


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
