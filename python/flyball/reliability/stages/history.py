"""History: every record and file of the earlier runs must be whole, as the other stages rest on them."""

from __future__ import annotations

from ...evidence.gates import failed, passed
from ..context import Context
from ..results import StageResult

_MOST_NAMED = 5


def run(context: Context) -> StageResult:
    """Tell what the check before this run found."""
    values = {"damage": context.damage, "notes": context.notes}
    notes = "".join(f"; {note}" for note in context.notes)
    if not context.damage:
        return StageResult(
            "history", passed("HISTORY_PASSED", f"{len(context.order)} records are whole{notes}"), values
        )
    message = "; ".join(context.damage[:_MOST_NAMED])
    if len(context.damage) > _MOST_NAMED:
        message += f"; and {len(context.damage) - _MOST_NAMED} more"
    hint = "bring the files back from a copy, or: flyball reliability accept --damage --why TEXT"
    return StageResult("history", failed("HISTORY_DAMAGED", message + notes, hint, n=len(context.damage)), values)
