"""The dashboard: a document with all numbers, and two pages that show them.

dashboard.json    the document: each number as value and as text
dashboard.md      its tables
dashboard.html    its tables and its trends over runs, in one self-contained file

Numbers are formatted here; the pages only place them.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from ... import files
from ...evidence.gates import Outcome, passed
from ...journal.events import REASONS
from ..context import Context
from ..results import SCHEMA, Record, StageResult
from ..store import write_json
from .report import (
    change_percent,
    clean,
    clip,
    date,
    escaped,
    markdown_table,
    number,
    overall,
    percent,
    quantity,
    signed,
    this_run,
)
from .trends import TRENDS, Document, figure, figure_of, placed, run_ticks, trend_of

FILES = ("dashboard.json", "dashboard.md", "dashboard.html")
_PAGES = ("dashboard", "report")  # stages that do not judge the program
_WINDOW = 30  # newest runs that count for objectives
_OBJECTIVES = {"scenario": 1.0, "explainability": 1.0, "coverage": 1.0}  # they do not depend on measurements
_OBJECTIVE = 0.9  # of the other stages
_MOST_REASONS = 12
_MOST_RUNS = 100  # per trend, so that its points stay distinct
_MOST_STATE = 16  # values of the state to show
_MOST_COLUMNS = 6  # per benchmark case
_DAY = 86400.0


def collect(context: Context) -> Document:
    """The document of this run and those before it; manual actions do not count as runs."""
    now = this_run(context)
    runs = [*(record for record in context.history if not record.act and record.run != now.run), now]
    acts = [record for record in context.history if record.act]
    first = max(0, len(runs) - _MOST_RUNS)
    slo = _slo(runs[-_WINDOW:], list(now.stages))
    trends = [trend_of(trend, runs, first, context.limits) for trend in TRENDS]
    return {
        "schema": SCHEMA,
        "run": clean(now.run),
        "time": now.time,
        "date": date(now.time),
        "target": clean(now.target),
        "profile": clean(now.profile),
        "machine": clip(now.machine, 16),
        "subjects": {clip(name, 40): clean(digest)[:20] for name, digest in now.subjects.items() if digest},
        "outcome": str(overall(now)),
        "n_runs": figure_of(len(runs)),
        "tiles": _tiles(now, slo),
        "stages": [_stage(result) for result in now.stages.values()],
        "slo": slo,
        "heal": _heal(now, runs, acts),
        "reasons": _reasons(runs, now),
        "runs": [_run(record, i + 1) for i, record in enumerate(runs) if i >= first],
        "run_ticks": [figure_of(n) for n in run_ticks(first + 1, len(runs))],
        "trends": [trend for trend in trends if trend is not None],
        "without": [trend.title for trend, made in zip(TRENDS, trends, strict=True) if made is None],
        "curriculum": _curriculum(now),
        "metrics": _metrics(now),
        "benchmark": _benchmark(now),
    }


# ---------------------------------------------------------------- parts of the document


def _stage(result: StageResult) -> Document:
    verdict = result.verdict
    return {
        "stage": clean(result.stage),
        "outcome": str(verdict.outcome),
        "label": result.label,
        "reason_id": verdict.reason_id,
        "meaning": verdict.meaning,
        "message": clip(verdict.message),
        "hint": clip(verdict.hint),
        "seconds": figure(result.seconds, f"{result.seconds:.1f} s"),
    }


def _run(record: Record, n: int) -> Document:
    bad = [clean(name) for name, result in record.stages.items() if result.counts and record.failed(name)]
    return {
        "number": figure_of(n),
        "run": clean(record.run),
        "date": date(record.time, "%Y-%m-%d"),
        "outcome": str(overall(record)),
        "failed": bad,
    }


def _slo(runs: Sequence[Record], stages: Iterable[str]) -> Document:
    """Objectives; inconclusive runs do not count. The budget is the number of runs in a full window that may fail."""
    rows = []
    for stage in dict.fromkeys([*stages, *(name for record in runs for name in record.stages)]):
        if stage in _PAGES:
            continue
        outcomes = Counter(record.stages[stage].verdict.outcome for record in runs if stage in record.stages)
        n_passed, n_failed = outcomes[Outcome.PASS], outcomes[Outcome.FAIL]
        share = n_passed / (n_passed + n_failed) if n_passed + n_failed else None
        objective = _OBJECTIVES.get(stage, _OBJECTIVE)
        budget = round((1 - objective) * _WINDOW)
        left = budget - n_failed
        rows.append(
            {
                "stage": clean(stage),
                "passed": figure_of(n_passed),
                "failed": figure_of(n_failed),
                "inconclusive": figure_of(outcomes[Outcome.INCONCLUSIVE]),
                "share": figure(share, percent(share)),
                "objective": figure(objective, f"{100 * objective:.0f} %"),
                "budget": figure(budget, f"{budget}"),
                "left": figure(left, f"{left} of {budget}" if left >= 0 else f"{-left} over"),
                "overspent": left < 0,
            }
        )
    return {"window": figure_of(_WINDOW), "n_runs": figure_of(len(runs)), "stages": rows}


def _tiles(now: Record, slo: Document) -> list[Document]:
    """The summary at the top."""
    outcomes = Counter(result.verdict.outcome for result in now.stages.values())
    n_passed, rows = outcomes[Outcome.PASS], slo["stages"]
    note = f"{outcomes[Outcome.FAIL]} failed, {outcomes[Outcome.INCONCLUSIVE]} inconclusive"
    tiles = [_tile("Stages passed", n_passed, f"{n_passed} of {len(now.stages)}", note)]
    for row in rows:
        if row["stage"] == "reason_drift":
            n_decided = row["passed"]["value"] + row["failed"]["value"]
            note = f"{row['passed']['shown']} of {n_decided} conclusive runs"
            tiles.append(_tile("Drift pass rate", row["share"]["value"], row["share"]["shown"], note))
    n_kept = sum(not row["overspent"] for row in rows)
    tiles.append(_tile("Error budgets kept", n_kept, f"{n_kept} of {len(rows)}", ""))
    for phase in ("decode", "prefill"):
        cost = number(now.values("metrics"), "cost", phase)
        if cost is not None:
            change, window = (
                change_percent(number(now.values("metrics"), "drift", phase, of)) for of in ("run", "window")
            )
            note = f"{signed(change, '%')} vs. the baseline, newest runs {signed(window, '%')}"
            note = "no baseline" if change is None else note
            tiles.append(_tile(f"{phase.capitalize()} cost", cost, quantity(cost, "×"), note))
    if now.heal.get("mode"):
        tiles.append(_tile("Self-heal", None, clip(now.heal["mode"], 20), "latched" if now.heal.get("latched") else ""))
    return tiles


def _tile(name: str, value: float | None, shown: str, note: str) -> Document:
    return {"name": name, **figure(value, shown), "note": note}


def _heal(now: Record, runs: Sequence[Record], acts: Sequence[Record]) -> Document:
    """The state after this run, for how many runs it has lasted, and the last manual action."""
    mode = now.heal.get("mode")
    n = 0
    for record in reversed([*runs[:-1], now]):
        if mode is None or record.heal.get("mode") != mode:
            break
        n += 1
    state = [{"name": clip(key, 40).replace("_", " "), "shown": shown} for key, shown in _flat(now.heal)[:_MOST_STATE]]
    last = {"run": clip(acts[-1].run, 60), "act": clip(acts[-1].act), "date": date(acts[-1].time)} if acts else None
    since = f"{n} run" if n == 1 else f"{n} runs"
    return {"mode": clip(mode, 20) if mode else None, "since": figure(n, since), "state": state, "act": last}


def _flat(found: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """(path, value) of all values in nested mappings."""
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}.")
        elif value not in (None, "") and not isinstance(value, list):
            rows.append((f"{before}{key}", _plain(value)))
    return rows


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    known = number(value)
    return clip(value, 60) if known is None else f"{known:,.10g}"


def _reasons(runs: Sequence[Record], now: Record) -> Document:
    """The reasons of this week and last week (ISO 8601 weeks in UTC)."""
    weeks = [date(now.time - days * _DAY, "%G-W%V") for days in (7, 0)]
    counts: dict[str, Counter[str]] = {week: Counter() for week in weeks}
    n_runs = Counter(date(record.time, "%G-W%V") for record in runs)
    for record in runs:
        found = record.values("scenario").get("reasons")
        week = date(record.time, "%G-W%V")
        if week in counts and isinstance(found, Mapping):
            counts[week].update({clip(name, 60): int(n) for name in found if (n := number(found, name)) is not None})
    last, this = (counts[week] for week in weeks)
    rows = [_reason(name, last, this) for name in sorted({*last, *this})]
    rows.sort(key=lambda row: -abs(row["change"]["value"] or 0.0) if last else -row["this"]["value"])
    return {
        "weeks": [_week(week, n_runs[week], counts[week]) for week in weeks],
        "comparable": bool(last and this),
        "rows": rows[:_MOST_REASONS],
        "left_out": figure_of(max(0, len(rows) - _MOST_REASONS)),
    }


def _week(name: str, n_runs: int, counts: Counter[str]) -> Document:
    return {"week": name, "runs": figure_of(n_runs), "reasons": figure_of(counts.total())}


def _reason(name: str, last: Counter[str], this: Counter[str]) -> Document:
    shares = [counts[name] / counts.total() if counts.total() else None for counts in (last, this)]
    change = 100 * (shares[1] - shares[0]) if shares[0] is not None and shares[1] is not None else None
    return {
        "reason_id": name,
        "meaning": REASONS[name].meaning if name in REASONS else "not in the registry",
        "last": figure_of(last[name]),
        "this": figure_of(this[name]),
        "last_share": figure(shares[0], percent(shares[0])),
        "this_share": figure(shares[1], percent(shares[1])),
        "change": figure(change, signed(change, "points")),
    }


def _curriculum(now: Record) -> list[Document]:
    """The terms of the confidence threshold."""
    found = now.values("curriculum").get("provenance")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    return [{"source": clip(row.get("source", "?"), 60), "shown": _plain(row.get("value", "–"))} for row in rows]


def _metrics(now: Record) -> list[Document]:
    """Cycles per token in this run."""
    rows = []
    for phase in ("prefill", "decode"):
        found = now.values("metrics").get(phase)
        columns = [(name, number(found, name)) for name in ("n", "mean", "p50", "p95", "p99")]
        if any(value is not None for _, value in columns):
            rows.append({"phase": phase, "columns": [{"name": name, **figure_of(value)} for name, value in columns]})
    return rows


def _benchmark(now: Record) -> Document:
    """A row for each case; the columns are the members that cases have."""
    found = now.values("benchmark").get("cases")
    every = found if isinstance(found, Mapping) else {}
    cases = {name: case for name, case in every.items() if isinstance(case, Mapping)}
    keys = dict.fromkeys(
        key for case in cases.values() for key in case if key != "digest" and _typical(case[key]) is not None
    )
    columns = list(keys)[:_MOST_COLUMNS]
    return {
        "columns": [clip(key, 40).replace("_", " ") for key in columns],
        "cases": [
            {
                "case": clip(name, 60),
                "digest": clean(case.get("digest", "–"))[:12],
                "values": [figure_of(_typical(case.get(key))) for key in columns],
            }
            for name, case in cases.items()
        ],
    }


def _typical(found: object) -> float | None:
    """A number, or the median of a list of numbers."""
    if not isinstance(found, list):
        return number(found)
    known = [value for value in map(number, found) if value is not None]
    return statistics.median(known) if known else None


# ---------------------------------------------------------------- pages


@cache
def _template() -> jinja2.Template:
    path = Path(__file__).parents[2] / "data" / "dashboard.html"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(path.read_text(encoding="utf-8"))


def page(document: Document) -> str:
    """As HTML."""
    plots = [(trend, placed(trend, document["runs"], document["run_ticks"])) for trend in document["trends"]]
    return _template().render(document=document, plots=plots) + "\n"


def _rows(found: Sequence[Document], name: str, columns: Sequence[str]) -> list[list[str]]:
    """Rows of a table: the name and the figures."""
    return [[row[name], *(row[column]["shown"] for column in columns)] for row in found]


def markdown(document: Document) -> str:
    """As Markdown."""
    d = document
    parts = [
        f"# Reliability: {d['outcome']}\n",
        f"Run {escaped(d['run'])}, {d['date']}. Comparable runs: {d['n_runs']['shown']}.\n",
    ]
    if d["n_runs"]["value"] == 1:
        parts.append("This is the first run, so there is nothing to compare with yet.\n")

    head: tuple[str, ...]

    def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1) -> None:
        if rows:
            parts.extend([f"## {title}\n", markdown_table(head, rows, n_left)])

    table("At a glance", ("", "", ""), [(t["name"], t["shown"], t["note"]) for t in d["tiles"]], 3)
    stages = [
        (s["stage"], s["label"], s["reason_id"], s["message"], s["hint"], s["seconds"]["shown"]) for s in d["stages"]
    ]
    table("Stages of this run", ("stage", "verdict", "reason", "message", "hint", "time"), stages, 5)
    title = f"Objectives, newest {d['slo']['n_runs']['shown']} of at most {d['slo']['window']['shown']} runs"
    head = ("stage", "passed", "failed", "inconclusive", "share passed", "objective", "failures left")
    table(
        title,
        head,
        _rows(d["slo"]["stages"], "stage", ("passed", "failed", "inconclusive", "share", "objective", "left")),
    )
    table("Self-heal", ("", ""), [(row["name"], row["shown"]) for row in d["heal"]["state"]], 2)
    last, this = (week["week"] for week in d["reasons"]["weeks"])
    head = ("reason", last, "share", this, "share", "change")
    shares = ("last", "last_share", "this", "this_share", "change")
    table("Reasons, week over week", head, _rows(d["reasons"]["rows"], "reason_id", shares))
    head = ("", "this run", "median", "least", "most")
    table("Trends", head, _rows(d["trends"], "about", ("newest", "median", "least", "most")))
    table("Confidence threshold", ("from", "value"), [(row["source"], row["shown"]) for row in d["curriculum"]])
    if d["metrics"]:
        head = ("phase", *(column["name"] for column in d["metrics"][0]["columns"]))
        phases = [(row["phase"], *(column["shown"] for column in row["columns"])) for row in d["metrics"]]
        table("Cycles per token in this run", head, phases)
    head = ("case", "digest", *d["benchmark"]["columns"])
    cases = [(c["case"], c["digest"], *(v["shown"] for v in c["values"])) for c in d["benchmark"]["cases"]]
    table("Benchmark cases", head, cases, 2)
    return "\n".join(parts)


def run(context: Context) -> StageResult:
    """Write the dashboard."""
    document = collect(context)
    write_json(context.folder / "dashboard.json", document)
    files.write(context.folder / "dashboard.md", markdown(document))
    files.write(context.folder / "dashboard.html", page(document))
    n = document["n_runs"]["value"]
    verdict = passed("DASHBOARD_WRITTEN", f"{', '.join(FILES)} show {'the first run' if n == 1 else f'{n} runs'}")
    return StageResult("dashboard", verdict, {"files": list(FILES), "runs": n})
