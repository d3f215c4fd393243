"""The report of a run: text for a log, Markdown for a CI job's summary, and JUnit XML.

Nothing is judged here: marks show the distance of a metric from its baseline, verdicts are those of the stages.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import xml.etree.ElementTree as ET
from calendar import timegm
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import files
from ...evidence.gates import Outcome, passed
from ..context import Context
from ..results import Limits, Record, StageResult

FILES = ("report.txt", "report.md", "junit.xml")
_MOST_LINES = 25  # of report.txt
_MOST_WIDTH = 120
_CLIP = 300  # characters of a message in tables; the stages' files have the full text
_NO_TEXT = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # control characters, and what XML 1.0 forbids
    "|[\u202a-\u202e\u2066-\u2069]"  # bidirectional controls, which reorder the text after them
)


def clean(text: object) -> str:
    """Text that is safe in a terminal, a page and XML."""
    return _NO_TEXT.sub("\ufffd", str(text))


def clip(text: object, most: int = _CLIP) -> str:
    """Text on one line, cut to a maximum length."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def number(found: object, *path: str) -> float | None:
    """The number at a path in a stage's values; None if it is missing or cannot be shown."""
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e15:
        return None
    return found


def quantity(value: float | None, unit: str = "") -> str:
    """A number with four significant digits and its unit."""
    if value is None:
        return "–"
    scale, prefix = next((s, p) for s, p in ((1e9, " G"), (1e6, " M"), (1.0, "")) if abs(value) >= s or s == 1)
    value = value / scale if scale > 1 else value
    if isinstance(value, int):
        text = f"{value:,}"
    elif value and abs(value) < 0.001:
        text = f"{value:.2g}"
    else:
        text = f"{value:,.{min(4, max(0, 3 - math.floor(math.log10(abs(value))))) if value else 0}f}"
    return f"{text}{prefix} {unit}".rstrip()


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "–" if share is None else f"{100 * share:.1f} %"


def signed(value: float | None, unit: str) -> str:
    """A change with its sign."""
    return "–" if value is None else f"{round(value, 1) + 0.0:+.1f} {unit}"


def change_percent(ratio: float | None) -> float | None:
    """The change in percent of a ratio to a baseline."""
    return None if ratio is None else round(100 * (ratio - 1), 6)


def date(seconds: float, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A time in seconds since 1970, as text in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "no date"


def overall(record: Record) -> Outcome:
    """The outcome of a run; inconclusive without any stage."""
    return record.outcome if record.stages else Outcome.INCONCLUSIVE


def this_run(context: Context) -> Record:
    """This run so far, as a record. Its time is that of its name, so that pages are reproducible."""
    try:
        started = float(timegm(time.strptime(context.run[:15], "%Y%m%d-%H%M%S")))
    except ValueError:
        started = time.time()
    state = context.values("self_heal").get("state")
    return Record(
        run=context.run,
        time=started,
        target=context.target,
        profile=context.profile.name,
        machine=context.machine,
        subjects=context.subjects,
        stages=dict(context.results),
        heal=dict(state if isinstance(state, Mapping) else context.heal),
    )


# ---------------------------------------------------------------- metrics


_PHASES = ("prefill", "decode")


@dataclass(frozen=True)
class Metric:
    """A line of the report. `mark`: the rating of this run's change; empty if nothing is compared.

    `window_percent`: the change of the median of the newest runs. `test`: what the tests made of it.
    """

    name: str
    shown: str
    change_percent: float | None = None
    mark: str = ""
    window_percent: float | None = None
    test: str = ""


def metrics(record: Record, limits: Limits) -> list[Metric]:
    """The metrics that a run measured."""
    startup, tokens = record.values("startup"), record.values("metrics")
    costs = [(phase, number(tokens, "cost", phase), tokens) for phase in _PHASES]
    found = []
    for name, cost, values in (*costs, ("load", number(startup, "cost"), startup)):
        if cost is None:
            continue
        cost = number(values, "again", "cost", name) or cost
        change, window = (change_percent(number(values, "drift", name, of)) for of in ("run", "window"))
        shown = quantity(cost, "× reference workload")
        found.append(Metric(f"{name} cost", shown, change, _mark(change, limits), window, _test(values, name)))
    for phase in _PHASES:
        cycles = [(p, number(tokens, phase, p)) for p in ("p50", "p95", "p99")]
        if any(value is not None for _, value in cycles):
            found.append(Metric(f"{phase} cycles/token", ", ".join(f"{p} {quantity(value)}" for p, value in cycles)))
    if record.values("scenario"):
        counts = [f"{phase} {quantity(number(tokens, 'instructions', phase))}" for phase in _PHASES]
        counted = bool(tokens.get("instructions"))
        found.append(Metric("instructions", ", ".join(counts) if counted else "not counted: perf is not allowed"))
    for name, stage, key, unit in (
        ("model prepared", "startup", "model_prepare_ms", "ms"),
        ("first token", "startup", "first_token_ms", "ms"),
        ("harmful share", "quality", "harmful_share", ""),
        ("confidence threshold", "curriculum", "threshold", ""),
    ):
        value = number(record.values(stage), key)
        if value is not None:
            found.append(Metric(name, percent(value) if key == "harmful_share" else quantity(value, unit)))
    return found


def _test(values: Mapping[str, Any], name: str) -> str:
    """What the tests say of a cost, and from which slow-down on they could say it."""
    total, alarm, visible = (number(values, "drift", name, of) for of in ("sum", "alarm", "visible"))
    if total is None or alarm is None:
        return ""
    told = [f"CUSUM {total:.1f} of {alarm:g}"]
    if values["drift"][name].get("step"):
        told.append("a step")
    return ", ".join([*told, f"sees {signed(change_percent(visible), '%')}"])


def _mark(change: float | None, limits: Limits) -> str:
    if change is None:
        return "no baseline"
    if change >= limits.fail_percent:
        return "fail"
    return "warn" if change >= limits.warn_percent else "ok"


# ---------------------------------------------------------------- forms


def _text(record: Record, measured: Sequence[Metric]) -> str:
    """The report as plain text."""
    seconds = sum(result.seconds for result in record.stages.values())
    about = f"profile {record.profile}, target {record.target}, {len(record.stages)} stages in {seconds:.1f} s"
    lines = [f"flyball reliability {record.run}: {overall(record).upper()} ({about})"]
    for name, result in record.stages.items():
        verdict = result.verdict
        lines.append(f"  {name:<15} {result.label:<10} {verdict.reason_id:<20} {verdict.message}")
    for name, result in record.stages.items():
        if result.verdict.outcome is not Outcome.PASS and result.verdict.hint:
            lines.append(f"  {name}: {result.verdict.hint}")
    for m in measured:
        change = signed(m.change_percent, "%") if m.mark else ""
        window = f"  newest runs {signed(m.window_percent, '%')}, {m.test}" if m.test else ""
        lines.append(f"  {m.name:<21} {m.shown:<30} {change:>9} {m.mark}{window}")
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES - 1 :] = [f"  and {len(lines) - _MOST_LINES + 1} lines more in report.md"]
    return "".join(_one_line(line) + "\n" for line in lines)


def _one_line(text: str) -> str:
    """A line of the text report."""
    line = clean(text).replace("\n", " ").replace("\t", " ").rstrip()
    return line if len(line) <= _MOST_WIDTH else line[: _MOST_WIDTH - 1] + "…"


def escaped(text: object) -> str:
    """Text escaped for Markdown, inside tables too."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", clip(text))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]], n_left: int = 1) -> str:
    """A table with all text escaped. The first `n_left` columns are text, the others numbers."""
    rule = [":--" if i < n_left else "--:" for i in range(len(head))]
    cells = [[*map(escaped, head)], rule, *([*map(escaped, row)] for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def _markdown(record: Record, measured: Sequence[Metric], limits: Limits) -> str:
    """The report as Markdown."""
    about = f"Profile {record.profile}, target {record.target}, {date(record.time)}."
    stages = [
        (name, r.label, r.verdict.reason_id, r.verdict.message, r.verdict.hint, f"{r.seconds:.1f}")
        for name, r in record.stages.items()
    ]
    parts = [
        _summary_mark(record),
        f"## Reliability: {overall(record)} ({escaped(record.run)})\n",
        escaped(about) + "\n",
        markdown_table(("stage", "verdict", "reason", "message", "hint", "seconds"), stages, n_left=5),
    ]
    if measured:
        rows = [
            (m.name, m.shown, m.test, signed(m.window_percent, "%"), signed(m.change_percent, "%"), m.mark)
            for m in measured
        ]
        head = ("metric", "value", "tests", "newest runs", "this run", "mark")
        parts.append(markdown_table(head, rows, n_left=3))
        parts.append(
            "Changes are relative to the baseline: this run's, and that of the median of the newest undisturbed runs."
            f" Marks are of this run: warn from {limits.warn_percent:g} %, fail from {limits.fail_percent:g} %."
            " Verdicts come from the stages; marks count where the limits file sets them.\n"
        )
    return "\n".join(parts)


def _summary_mark(record: Record) -> str:
    return f"<!-- flyball reliability {escaped(record.run)} -->\n"


def _append_summary(text: str, record: Record) -> str:
    """Append to the CI job's summary unless it is already there; returns what was done."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return "not requested"
    try:
        path = Path(name)
        if path.exists() and _summary_mark(record) in path.read_text(encoding="utf-8", errors="replace"):
            return "already written"
        with open(path, "a", encoding="utf-8") as file:
            file.write("\n" + text)
    except OSError as error:  # the report itself was written
        return f"not written: {error.strerror or error}"
    return "appended"


def _kind(result: StageResult) -> str:
    """Of a test in JUnit's terms; a warning is no failure, and no pass either."""
    if result.verdict.outcome is Outcome.PASS:
        return "passed"
    return "failure" if result.verdict.outcome is Outcome.FAIL and result.counts else "skipped"


def _junit(record: Record) -> str:
    """JUnit XML: each stage is a test, and an inconclusive one is skipped."""
    results = list(record.stages.values())
    counts = {
        "tests": str(len(results)),
        "failures": str(sum(_kind(result) == "failure" for result in results)),
        "errors": "0",
        "skipped": str(sum(_kind(result) == "skipped" for result in results)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    root = ET.Element("testsuites", {"name": "flyball reliability"} | counts)
    timestamp = date(record.time, "%Y-%m-%dT%H:%M:%S")
    suite = ET.SubElement(root, "testsuite", {"name": "reliability", "timestamp": timestamp} | counts)
    properties = ET.SubElement(suite, "properties")
    for name in ("run", "profile", "target", "machine"):
        ET.SubElement(properties, "property", name=name, value=clean(getattr(record, name)))
    for result in results:
        case = ET.SubElement(
            suite, "testcase", classname="reliability", name=clean(result.stage), time=f"{result.seconds:.3f}"
        )
        verdict = result.verdict
        if (kind := _kind(result)) == "passed":
            continue
        said = ET.SubElement(case, kind, message=verdict.reason_id)
        said.text = clean("\n".join(filter(None, (verdict.message, verdict.hint, json.dumps(verdict.evidence)))))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def run(context: Context) -> StageResult:
    """Write them."""
    record = this_run(context)
    measured = metrics(record, context.limits)
    summary = _markdown(record, measured, context.limits)
    for name, text in zip(FILES, (_text(record, measured), summary, _junit(record)), strict=True):
        files.write(context.folder / name, text)
    values: dict[str, Any] = {
        "files": list(FILES),
        "metrics": [asdict(m) for m in measured],
        "summary": _append_summary(summary, record),
        "limits": context.limits.effective("warn_percent", "fail_percent"),
    }
    return StageResult("report", passed("REPORT_WRITTEN", f"wrote {', '.join(FILES)}"), values)
