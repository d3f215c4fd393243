"""Startup: budgets of loading and of the first token, and drift of loading over the runs."""

from __future__ import annotations

from ...evidence.gates import Verdict, failed, inconclusive, passed
from .. import series
from ..context import Context
from ..results import StageResult

BUDGETS = ("model_select_ms", "model_prepare_ms", "first_token_ms")


def run(context: Context) -> StageResult:
    """Compare times with their limits, and a load-independent cost with earlier runs."""
    found = context.values("scenario")
    times = found.get("startup", {})
    cost = found.get("cost", {}).get("load")
    limits = context.limits.effective(*BUDGETS, "startup_slow_down")
    values = {**times, "cost": cost, "limits": limits}
    if cost is None or any(name not in times for name in BUDGETS):
        message = "the scenario measured no times"
        return StageResult("startup", inconclusive("STARTUP_INSUFFICIENT_DATA", message), values)
    over = [name for name in BUDGETS if times[name] > getattr(context.limits, name)]
    if over:
        message = ", ".join(
            f"{name} is {times[name]:,.1f}, the limit is {getattr(context.limits, name):,g}" for name in over
        )
        hint = "flyball bench speed --breakdown shows the parts of loading; if the file was not cached, run again"
        return StageResult("startup", failed("STARTUP_OVER_BUDGET", message, hint, over=over), values)
    return StageResult("startup", _over_runs(context, cost, values), values)


def _over_runs(context: Context, cost: float, values: dict[str, object]) -> Verdict:
    drift, baseline = series.judge(context.history, cost, "load", context.limits.startup_slow_down)
    if drift is None:
        message = f"within budget; too few runs to detect a drift: {baseline}"
        return inconclusive("STARTUP_INSUFFICIENT_DATA", message, "run again on this machine with this model")
    values["drift"] = drift._asdict()
    if drift.slower:
        message = f"loading takes {drift.ratio:.2f} times as long as {baseline}, statistically significant"
        hint = "flyball bench compare can find the cause; flyball reliability baseline accepts the new cost"
        return failed("STARTUP_SLOWER", message, hint, **drift._asdict())
    return passed(
        "STARTUP_PASSED",
        f"within budget, loading takes {drift.ratio:.2f} times as long as {baseline}",
        **drift._asdict(),
    )
