"""The report's document: every scenario against its targets, its budget, and where each figure is from.

Numbers are formatted here; the pages only place them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..bench.fields import SCHEMA
from ..reliability.pages.report import clip, date, percent
from .budget import Budget, Burn, budget, counters
from .gate import Finding, counts, judge, label, overall
from .history import Line, lines
from .record import Run, receipts_of
from .scenarios import SCENARIOS
from .targets import Levels

Document = dict[str, Any]
TITLES = {  # of a metric, and its unit
    "latency_p50_ms": ("latency p50", "ms"),
    "latency_p95_ms": ("latency p95", "ms"),
    "first_token_ms": ("first token p95", "ms"),
    "tokens_per_second": ("tokens per second p50", "tok/s"),
    "peak_memory_mb": ("peak memory", "MB"),
    "regression": ("latency p95 over its baseline", "×"),
    "first_token_regression": ("first token p95 over its baseline", "×"),
}
_MOST_POINTS = 60  # newest runs in a line's picture


def collect(runs: Sequence[Run], levels: Levels, folder: Path, out: Path) -> Document:
    """The document as of the newest run: the same files give the same document."""
    found = lines(runs)
    findings = judge(found, levels)
    newest = runs[-1]
    outcome = overall(findings)
    shown = [name for name in SCENARIOS if name in found or name in levels.scenarios]
    return {
        "schema": SCHEMA,
        "outcome": str(outcome),
        "label": label(outcome),
        "summary": counts(findings),
        "date": date(newest.time),
        "model": clip(newest.model, 60),
        "fingerprint": newest.results.fingerprint,
        "machine": clip(newest.results.machine["name"], 80),
        "threads": newest.results.threads,
        "build": clip(f"{newest.results.build.version} at {newest.results.build.commit[:12]}", 60),
        "levels": clip(levels.source or "defaults", 80),
        "objective": percent(levels.objective),
        "regression": levels.regression,
        "to_runs": Path(os.path.relpath(folder, out)).as_posix(),
        "scenarios": [_scenario(name, found.get(name), findings, levels, newest.time, folder) for name in shown],
        "runs": [_run(run) for run in reversed(runs)],
    }


def _run(run: Run) -> Document:
    build = run.results.build
    names = {"file": run.file, "sha256": run.sha256, "date": date(run.time), "build": f"{build.extension[:12]}"}
    return names | {"scenarios": len(run.cases)}


def _scenario(
    name: str, line: Line | None, findings: Sequence[Finding], levels: Levels, now: float, folder: Path
) -> Document:
    mine = [finding for finding in findings if finding.scenario == name]
    outcome = overall(mine) if mine else None
    document: Document = {
        "name": name,
        "about": SCENARIOS[name].about,
        "wanted": name in levels.scenarios,
        "outcome": str(outcome) if outcome else "off",
        "label": label(outcome) if outcome else "not judged",
        "metrics": [_metric(finding) for finding in mine],
        "budget": None,
        "p95": [],
        "digest": "",
        "receipts": [],
        "broken": [],
    }
    if line is None:
        return document
    targets = levels.targets[name]
    case = line.newest.case
    n_good, broken = receipts_of(folder, case)
    return document | {
        "budget": _budget(budget(counters(line, targets), levels.objective, now)),
        "p95": [{"run": entry.run.file, "ms": entry.p95} for entry in line.entries[-_MOST_POINTS:]],
        "target": targets.latency_p95_ms,
        "digest": case.digest,
        "receipts": list(case.receipts),
        "receipts_shown": f"{n_good} of {len(case.receipts)} receipts are there and whole",
        "broken": [clip(each) for each in broken],
        "iterations": len(case.ms),
        "n_runs": len(line.entries),
        "n_other": line.n_other,
    }


def _metric(finding: Finding) -> Document:
    title, unit = TITLES[finding.metric]
    verdict = finding.verdict
    sign = "≥" if finding.metric == "tokens_per_second" else "<" if unit == "×" else "≤"
    return {
        "metric": finding.metric,
        "title": title,
        "value": finding.value,
        "shown": _shown(finding.value, unit),
        "target": finding.target,
        "target_shown": "–" if finding.target is None else f"{sign} {_shown(finding.target, unit)}",
        "outcome": str(verdict.outcome),
        "label": label(verdict.outcome),
        "reason_id": verdict.reason_id,
        "message": clip(verdict.message),
        "hint": clip(verdict.hint),
        "evidence": verdict.evidence,
        "runs": list(finding.runs),
    }


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "×":
        return f"{value:.3f} ×"
    return f"{value:,.1f} {unit}" if value < 100 and value != round(value) else f"{value:,.0f} {unit}"


def _budget(found: Budget) -> Document:
    if found.left is None:
        left = "too few iterations"
    else:
        left = f"{100 * found.left:.0f} % left" if found.left >= 0 else f"{-100 * found.left:.0f} % overspent"
    return {
        "good": found.good,
        "all": found.all,
        "left": found.left,
        "left_shown": left,
        "overspent": found.left is not None and found.left < 0,
        "burns": [_burn(burn) for burn in found.burns],
    }


def _burn(burn: Burn) -> Document:
    window = burn.window
    return {
        "kind": window.kind,
        "windows": f"{_hours(window.long)} and {_hours(window.short)}",
        "limit": window.rate,
        "long": burn.long,
        "short": burn.short,
        "shown": f"{_rate(burn.long)} / {_rate(burn.short)}",
        "n": [burn.n_long, burn.n_short],
        "state": burn.state,
    }


def _rate(rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1f}"


def _hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} d"
