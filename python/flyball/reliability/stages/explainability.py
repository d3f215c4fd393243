"""Explainability: what was decided and why, what each stage said, and where each threshold comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import journal
from ...evidence.gates import failed, passed
from ...journal.events import Event
from ...journal.explain import tell
from ..context import Context
from ..results import StageResult
from ..store import write_json


def run(context: Context) -> StageResult:
    """Written whole to explanations.json; the record has the counts."""
    folder = Path(context.values("scenario").get("folder", ""))
    kept = folder / "journal.jsonl"
    events = list(journal.read(kept)) if kept.is_file() else []
    decided = [event for event in events if event.is_decision]
    told = decisions(decided)
    thresholds = thresholds_of(context)
    stages = {name: result.verdict.reason_id for name, result in context.results.items()}
    write_json(context.folder / "explanations.json", {"decisions": told, "stages": stages, "thresholds": thresholds})
    gaps = [f"{row['reason_id']} at line {row['line']} of the journal" for row in told if not row["sentence"]]
    gaps += [f"the threshold {row['name']} of {row['stage']}" for row in thresholds if not row["source"]]
    values = {"decisions": len(told), "stages": len(stages), "thresholds": len(thresholds)}
    if gaps:
        hint = "python/flyball/journal/explain.py has a sentence for each reason"
        verdict = failed("EXPLAIN_GAPS", f"cannot be explained: {'; '.join(gaps[:5])}", hint, n=len(gaps))
    else:
        message = f"{len(told)} decisions, {len(stages)} stages and {len(thresholds)} thresholds can be explained"
        verdict = passed("EXPLAIN_COMPLETE", message)
    return StageResult("explainability", verdict, values)


def decisions(decided: list[Event]) -> list[dict[str, Any]]:
    """Each with its own reason and sentence; an empty sentence where none can be made."""
    rows = []
    for event in decided:
        try:
            sentence = next((str(said.sentence) for said in tell([event])), "")
        except (KeyError, TypeError, ValueError):  # data that its sentence does not expect
            sentence = ""
        rows.append({"line": event.number, "reason_id": event.reason_id, "sentence": sentence})
    return rows


def thresholds_of(context: Context) -> list[dict[str, Any]]:
    """Of all stages so far: name, value, source."""
    rows = []
    for name, result in context.results.items():
        rows += [{"stage": name, **limit} for limit in result.values.get("limits", [])]
        for term in result.values.get("provenance", []):
            rows.append({"stage": name, "name": "confidence that changes need", **term})
    return rows
