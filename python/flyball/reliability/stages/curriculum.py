"""Curriculum: the confidence that changes need, by phase, workload and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...evidence.gates import passed
from ..context import Context
from ..results import StageResult
from .quality import HARM, changes_of

_PHASES = (("early", 2, 75), ("warm", 6, 67), ("steady", None, 60))  # name, maximum number of runs, base
_WORKLOADS = {"latency": -5, "context_expansion": 10, "mixed": 3, "unknown": 0}
_RECENT = 5  # runs whose outcomes count
_MOST_ADAPTED = 10
LEAST, MOST = 55, 85


def run(context: Context) -> StageResult:
    """Compute the threshold and its terms."""
    if not context.limits.curriculum:
        limits = context.limits.effective("curriculum")
        return StageResult(
            "curriculum", passed("CURRICULUM_SET", "switched off"), {"threshold": 0, "provenance": [], "limits": limits}
        )
    runs = [record for record in context.history if record.passed("scenario")]  # others are no experience
    phase, base = phase_of(len(runs))
    chosen = context.values("scenario").get("chosen", {})
    workload = workload_of(chosen)
    recent = [change for record in runs[-_RECENT:] for change in changes_of(record)] + changes_of(context)
    outcomes = [change.outcome for change in recent if change.decided]
    adapted = adaptation(outcomes)
    threshold = min(max(base + _WORKLOADS[workload] + adapted, LEAST), MOST)
    provenance = [
        {"source": f"phase {phase}, after {len(runs)} runs", "value": base},
        {"source": f"workload {workload}", "value": _WORKLOADS[workload]},
        {"source": f"outcomes of {len(outcomes)} of {len(recent)} changes, the decided ones", "value": adapted},
        {"source": f"bounded by {LEAST} and {MOST}", "value": threshold},
    ]
    message = f"changes need a confidence of {threshold}: {base} ({phase}), {_WORKLOADS[workload]:+} ({workload})"
    values = {"threshold": threshold, "phase": phase, "workload": workload, "provenance": provenance}
    return StageResult("curriculum", passed("CURRICULUM_SET", f"{message}, {adapted:+} (outcomes)"), values)


def phase_of(n_runs: int) -> tuple[str, int]:
    """Name and base of the phase."""
    return next((name, base) for name, most, base in _PHASES if most is None or n_runs <= most)


def workload_of(chosen: Mapping[str, int]) -> str:
    """The workload by the chosen actions: reductions serve speed, increases long conversations."""
    less = sum(n for action, n in chosen.items() if action.startswith("reduce_"))
    more = sum(n for action, n in chosen.items() if action.startswith("increase_"))
    if less + more == 0:
        return "unknown"
    share = less / (less + more)
    return "latency" if share >= 0.75 else "context_expansion" if share <= 0.25 else "mixed"


def adaptation(outcomes: Sequence[str]) -> int:
    """The change of the threshold: down after improvements, up after harm, by at most _MOST_ADAPTED."""
    if not outcomes:
        return 0
    score: float = sum((outcome in HARM) - (outcome == "improved") for outcome in outcomes)
    return round(_MOST_ADAPTED * score / len(outcomes))
