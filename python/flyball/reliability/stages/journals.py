"""Journals: evidence of real use, from the journals that --journal names.

A journal is verified first; a damaged one is no evidence. An event counts in one run only: the record of a run has the
last line that it counted of each journal, and a later run begins after it. Events belong to the model that was loaded
last before them, and only those of the model under test count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ... import journal
from ...evidence.gates import Verdict, failed, inconclusive, passed
from ...evidence.stats import summary
from ...journal.events import Event
from ..context import Context
from ..results import Limits, Record, StageResult
from . import reason_drift
from .scenario import observed

_MODEL = ("architecture", "quantization", "file_bytes", "weight_bytes")  # what an event of loading tells of it
_LOADING = ("model_select_ms", "model_prepare_ms")


class Found(NamedTuple):
    """What a journal holds. `events`: of this model; `counted`: how many of them an earlier run counted."""

    file: Path
    n_lines: int
    end: list[Any]  # number and hash of the last line
    events: list[Event]
    counted: int
    fault: str = ""

    @property
    def new(self) -> list[Event]:
        """The events that no run has counted."""
        return self.events[self.counted :]


def run(context: Context) -> StageResult:
    """Count what is new, and judge its reasons and its loading."""
    known = {tuple(end) for record in context.history for end in record.values("journals").get("ends", [])}
    model = _model_of(journal.read(Path(context.values("scenario").get("folder", "")) / "journal.jsonl"))
    found = []
    for path in context.journals:
        found.append(_read(path, model, known))
        known.add(tuple(found[-1].end))  # a copy of a journal is no more evidence
    damaged = [each for each in found if each.fault]
    values: dict[str, Any] = {"files": {str(each.file): {"lines": each.n_lines} for each in found}}
    if damaged:
        faults = "; ".join(each.fault for each in damaged)
        hint = "flyball journal verify shows every fault; move the file away or leave out --journal"
        return StageResult("journals", inconclusive("JOURNALS_DAMAGED", faults, hint), values)
    if not model or not any(each.events for each in found):
        message = f"{', '.join(map(str, context.journals))}: no event of this model"
        return StageResult("journals", inconclusive("JOURNALS_OTHER_MODEL", message, "see --model"), values)
    reasons: Counter[str] = Counter()
    values |= {"ends": [each.end for each in found], "applied": []}
    for each in found:
        values["applied"] += _judged(each.events)[len(_judged(each.events[: each.counted])) :]
        reasons.update(event.reason_id for event in each.new)
        values["files"][str(each.file)] |= {"events": len(each.events), "new": len(each.new)}
    values |= {"reasons": dict(reasons), "decisions": reason_drift.decisions(reasons)}
    values["loading"] = loading(event for each in found for event in each.new)
    values["limits"] = context.limits.effective(*_LOADING, "drift_events", "drift_level")
    return StageResult("journals", judge(context.history, values, context.limits), values)


def _read(path: Path, model: tuple[Any, ...], known: set[tuple[Any, ...]]) -> Found:
    faults: list[Any] = []
    events = list(journal.read(path, faults))
    report = journal.check(path)
    faults += [*report.faults, *report.doubts]
    end = [events[-1].number, events[-1].hash] if events else [-1, ""]
    if faults:
        return Found(path, len(events), end, [], 0, f"{path} is damaged: {faults[0]}")
    n_known = max((i + 1 for i, event in enumerate(events) if (event.number, event.hash) in known), default=0)
    own: list[Event] = []
    loaded: tuple[Any, ...] | None = None
    n_counted = 0
    for i, event in enumerate(events):
        if event.reason_id == "MODEL_LOADED":
            loaded = _identity(event)
        if loaded == model:
            own.append(event)
            n_counted += i < n_known
    return Found(path, len(events), end, own, n_counted)


def _judged(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Changes whose outcome is known; one that is still on trial counts when a later run sees its outcome."""
    return [change for change in observed(events)["applied"] if "pairs" in change or change["outcome"] == "failed"]


def _identity(event: Event) -> tuple[Any, ...]:
    return tuple(event.data.get(name) for name in _MODEL)


def _model_of(events: Iterable[Event]) -> tuple[Any, ...]:
    """Of the model under test, from the scenario's journal."""
    return next((_identity(event) for event in events if event.reason_id == "MODEL_LOADED"), ())


def loading(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """Milliseconds of each part of loading over all starts."""
    starts = [event.data for event in events if event.reason_id == "MODEL_LOADED"]
    ms = {
        "model_select_ms": [data["select_ns"] / 1e6 for data in starts],
        "model_prepare_ms": [data["prepare_ns"] / 1e6 for data in starts],
    }
    return {name: about._asdict() for name, values in ms.items() if (about := summary(values))}


def judge(history: Sequence[Record], values: dict[str, Any], limits: Limits) -> Verdict:
    """Loading within its limits, in half of the starts at least; no more harm than in the real use before.

    Other changes of the reasons are only told: people use a program in other ways, and a session's events are alike.
    """
    over = [
        f"{name} is {about['p50']:,.1f} in half of {about['n']:.0f} starts, the limit is {getattr(limits, name):,g}"
        for name, about in values["loading"].items()
        if about["p50"] > getattr(limits, name)
    ]
    if over:
        return failed("STARTUP_OVER_BUDGET", "; ".join(over), "flyball bench speed --breakdown shows where time goes")
    before: Counter[str] = Counter()
    for record in history:
        before.update(record.values("journals").get("decisions", {}))
    drift = reason_drift.judge(before, values["decisions"], limits)
    if drift.reason_id == "DRIFT_HARMFUL":
        return drift
    n_events, n_decisions = (sum(values[name].values()) for name in ("reasons", "decisions"))
    message = f"new: events {n_events}, decisions {n_decisions}, judged changes {len(values['applied'])}"
    return passed("JOURNALS_COUNTED", f"{message}; {drift.message}", **drift.evidence)
