"""Explainability: every decision needs a sentence, every threshold a source."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Write all explanations to explanations.json; the record gets their counts."""
    folder = Path(context.values("scenario").get("folder", ""))
    kept = folder / "journal.jsonl"
    events = list(journal.read(kept)) if kept.is_file() else []
    explained = decisions(event for event in events if event.is_decision)
    for path in context.journals if "ends" in context.values("journals") else ():
        used = decisions(event for event in journal.read(path) if event.is_decision)
        explained += [{"journal": str(path)} | row for row in used]
    thresholds = thresholds_of(context)
    stages = {name: result.verdict.reason_id for name, result in context.results.items()}
    write_json(
        context.folder / "explanations.json", {"decisions": explained, "stages": stages, "thresholds": thresholds}
    )
    gaps = [
        f"{row['reason_id']} at line {row['line']} of {row.get('journal', kept)}"
        for row in explained
        if not row["sentence"]
    ]
    gaps += [f"the threshold {row['name']} of {row['stage']}" for row in thresholds if not row["source"]]
    values = {"decisions": len(explained), "stages": len(stages), "thresholds": len(thresholds)}
    if gaps:
        hint = "python/flyball/journal/explain.py must have a sentence for each reason"
        verdict = failed("EXPLAIN_GAPS", f"no explanation for {'; '.join(gaps[:5])}", hint, n=len(gaps))
    else:
        message = (
            f"{len(explained)} decisions, {len(stages)} stages and {len(thresholds)} thresholds have an explanation"
        )
        verdict = passed("EXPLAIN_COMPLETE", message)
    return StageResult("explainability", verdict, values)


def decisions(decided: Iterable[Event]) -> list[dict[str, Any]]:
    """Each decision with its reason and sentence; the sentence is empty if there is none."""
    rows = []
    for event in decided:
        try:
            sentence = next((str(found.sentence) for found in tell([event])), "")
        except (KeyError, TypeError, ValueError):  # the data is not what the sentence expects
            sentence = ""
        rows.append({"line": event.number, "reason_id": event.reason_id, "sentence": sentence})
    return rows


def thresholds_of(context: Context) -> list[dict[str, Any]]:
    """Thresholds of all stages so far: name, value, source."""
    rows = []
    for name, result in context.results.items():
        rows += [{"stage": name, **limit} for limit in result.values.get("limits", [])]
        for term in result.values.get("provenance", []):
            rows.append({"stage": name, "name": "confidence that changes need", **term})
    return rows
