"""Startup: budgets of loading and of the first token, and whether loading became slower over the runs."""

from __future__ import annotations

from ...evidence.gates import Verdict, failed, inconclusive, passed
from .. import series
from ..context import Context
from ..results import StageResult

BUDGETS = ("model_select_ms", "model_prepare_ms", "first_token_ms")


def run(context: Context) -> StageResult:
    """Held against the limits, and against earlier runs by a cost that does not depend on how busy the machine was."""
    found = context.values("scenario")
    times = found.get("startup", {})
    cost = found.get("cost", {}).get("load")
    limits = context.limits.effective(*BUDGETS, "startup_slow_down")
    values = {**times, "cost": cost, "limits": limits}
    if cost is None or any(name not in times for name in BUDGETS):
        told = "the scenario left no times"
        return StageResult("startup", inconclusive("STARTUP_INSUFFICIENT_DATA", told), values)
    over = [name for name in BUDGETS if times[name] > getattr(context.limits, name)]
    if over:
        told = ", ".join(
            f"{name} is {times[name]:,.1f}, allowed are {getattr(context.limits, name):,g}" for name in over
        )
        hint = "flyball bench speed --profile tells where loading goes; a cold disk reads slowly: run again"
        return StageResult("startup", failed("STARTUP_OVER_BUDGET", told, hint, over=over), values)
    return StageResult("startup", _over_runs(context, cost, values), values)


def _over_runs(context: Context, cost: float, values: dict[str, object]) -> Verdict:
    drift, baseline = series.judge(context.history, cost, "load", context.limits.startup_slow_down)
    if drift is None:
        told = f"within budget; too few runs to see a drift: {baseline}"
        return inconclusive("STARTUP_INSUFFICIENT_DATA", told, "runs on this machine and model add up")
    values["drift"] = drift._asdict()
    if drift.slower:
        told = f"loading takes {drift.ratio:.2f} of what it did ({baseline}), beyond chance"
        hint = "flyball bench compare says which change did it; flyball reliability baseline accepts it"
        return failed("STARTUP_SLOWER", told, hint, **drift._asdict())
    return passed("STARTUP_PASSED", f"within budget, loading at {drift.ratio:.2f} of {baseline}", **drift._asdict())
