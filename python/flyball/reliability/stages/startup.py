"""Startup: budgets of loading and of the first token, and drift of loading over the runs."""

from __future__ import annotations

from typing import Any

from ...evidence.gates import failed, inconclusive
from .. import series
from ..context import Context
from ..results import StageResult

BUDGETS = ("model_select_ms", "model_prepare_ms", "first_token_ms")


def run(context: Context) -> StageResult:
    """Compare times with their limits, and a load-independent cost with earlier runs."""
    found = context.values("scenario")
    times = found.get("startup", {})
    cost = series.cost(found, "load")
    limits = context.limits.effective(*BUDGETS, "startup_slow_down", "visible_slow_down")
    values: dict[str, Any] = {**times, "cost": cost.value if cost else None, "limits": limits}
    if cost is None or any(name not in times for name in BUDGETS):
        message = "the scenario measured no times"
        return StageResult("startup", inconclusive("STARTUP_INSUFFICIENT_DATA", message), values)
    over = [name for name in BUDGETS if not times[name] <= getattr(context.limits, name)]
    if over:
        message = ", ".join(
            f"{name} is {times[name]:,.1f}, the limit is {getattr(context.limits, name):,g}" for name in over
        )
        hint = "flyball bench speed --breakdown shows the parts of loading; if the file was not cached, run again"
        return StageResult("startup", failed("STARTUP_OVER_BUDGET", message, hint, over=over), values)
    return StageResult("startup", series.verdict(context, "STARTUP", ("load",), values), values)
