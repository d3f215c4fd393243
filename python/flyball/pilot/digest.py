"""The weekly page: what the pilots of each week showed, the trend, and a text to paste.

Weeks are compared only along a line: one scene, the same models, mode and machine. A change of any begins a new line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import NotFound
from ..load.quantiles import Quantile, quantile
from ..reliability.pages.report import clip, date, escaped, markdown_table
from .agents import NAMES, sha256_of
from .record import Record
from .verdict import Decision, decide


@dataclass(frozen=True)
class Week:
    """The turns of all runs of a week of a line. `trend`: beside the week before that has runs."""

    week: str
    n_runs: int
    n_turns: int
    p50: Quantile
    p95: Quantile
    map_p95: float
    conflicts: int
    share_card_rate: float
    decision: Decision
    trend: str


@dataclass(frozen=True)
class Line:
    """Weeks that compare, oldest first. `id`: a digest of what they have in common."""

    id: str
    about: str
    weeks: tuple[Week, ...]


def read_all(folders: Sequence[Path]) -> list[Record]:
    """The records of some folders, oldest first. One that cannot be read is an error: none is overlooked."""
    for folder in folders:
        if not folder.is_dir():
            raise NotFound(str(folder), "is no folder; flyball pilot run writes records into runs/perf_reports")
    records = [Record.load(path) for folder in folders for path in sorted(folder.glob("perf_report_*.json"))]
    if not records:
        raise NotFound(", ".join(map(str, folders)), "has no records; flyball pilot run writes them")
    return sorted(records, key=lambda record: record.time)


def lines(records: Sequence[Record]) -> list[Line]:
    """The lines, that of the newest record first."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[_line_of(record)].append(record)
    newest_first = sorted(found.items(), key=lambda item: -item[1][-1].time)
    return [Line(name[:12], _about(of[-1]), _weeks(of)) for name, of in newest_first]


def week_of(seconds: float) -> str:
    """The ISO week of a time, in UTC."""
    try:
        year, week, _ = datetime.fromtimestamp(seconds, UTC).isocalendar()
    except (ValueError, OverflowError, OSError):
        return "no date"
    return f"{year}-W{week:02}"


def markdown(records: Sequence[Record], most_weeks: int) -> str:
    """The page."""
    all_lines = lines(records)
    parts = [
        "# Pilot KPIs\n",
        f"As of {date(records[-1].time)}, {len(records)} runs. A change of scene, models, mode or machine begins a new"
        " line.\n",
        "## To paste\n",
        "```text",
        to_paste(all_lines).rstrip("\n"),
        "```\n",
    ]
    for line in all_lines:
        parts += [f"## Line {line.id}\n", f"{escaped(line.about)}.\n", _table(line.weeks[-most_weeks:])]
    return "\n".join(parts)


def to_paste(all_lines: Sequence[Line]) -> str:
    """The newest week of each line, in words."""
    said = []
    for line in all_lines:
        week = line.weeks[-1]
        why = f" ({'; '.join(week.decision.causes)})" if week.decision.causes else ""
        runs = f"{week.n_turns} turns in {week.n_runs} run{'s' * (week.n_runs != 1)}"
        times = f"turn p50 {week.p50.value:.0f} ms, p95 {week.p95.value:.0f} ms, map p95 {week.map_p95:.0f} ms"
        counts = f"conflicts {week.conflicts}, share cards {100 * week.share_card_rate:.0f} %"
        head = f"{week.week} {clip(line.about, 400)}: {week.decision.verdict}{why}."
        said.append(f"{head} {runs}, {times}, {counts}. Trend: {week.trend}.")
    return "\n".join(said) + "\n"


def as_dict(records: Sequence[Record]) -> dict[str, Any]:
    """For JSON."""
    found = []
    for line in lines(records):
        weeks = [
            {
                "week": week.week,
                "n_runs": week.n_runs,
                "n_turns": week.n_turns,
                "p50_ms": week.p50.value,
                "p95_ms": week.p95.value,
                "map_p95_ms": week.map_p95,
                "conflicts": week.conflicts,
                "meta_share_card_rate": week.share_card_rate,
                "verdict": str(week.decision.verdict),
                "causes": list(week.decision.causes),
                "trend": week.trend,
            }
            for week in line.weeks
        ]
        found.append({"id": line.id, "about": line.about, "weeks": weeks})
    return {"schema": 1, "kind": "kpi", "lines": found, "text": to_paste(lines(records))}


def _line_of(record: Record) -> str:
    models = [[about.name, about.quantization, about.fingerprint, about.place] for about in _models(record)]
    return sha256_of([record.mode, record.machine, models, record.scene, record.seed, record.random_choice])


def _models(record: Record) -> list[Any]:
    return [record.models[name] for name in NAMES]


def _about(record: Record) -> str:
    names = dict.fromkeys(f"{about.name} {about.quantization}".strip() for about in _models(record))
    return f"{record.mode}, {' + '.join(names)}, {record.machine}, scene {record.scene[:8]}, seed {record.seed}"


def _weeks(records: Sequence[Record]) -> tuple[Week, ...]:
    of_week: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        of_week[week_of(record.time)].append(record)
    weeks: list[Week] = []
    for name, runs in of_week.items():
        turns = [turn for run in runs for turn in run.turns]
        ms, map_ms = ([getattr(turn, what) for turn in turns] for what in ("turn_duration_ms", "map_fn_latency_ms"))
        p50 = quantile(sorted(ms), 0.5)
        weeks.append(
            Week(
                week=name,
                n_runs=len(runs),
                n_turns=len(turns),
                p50=p50,
                p95=quantile(sorted(ms), 0.95),
                map_p95=quantile(sorted(map_ms), 0.95).value,
                conflicts=sum(turn.conflicts for turn in turns),
                share_card_rate=sum(turn.share_card for turn in turns) / len(turns),
                decision=decide(ms, map_ms, [turn.conflicts for turn in turns]),
                trend=_trend(weeks[-1].p50, p50) if weeks else "a new line",
            )
        )
    return tuple(weeks)


def _trend(before: Quantile, now: Quantile) -> str:
    """Of the median turn; only bounds that do not overlap show one."""
    change = f"{100 * (now.value / before.value - 1):+.0f} %" if before.value > 0 else "no ratio"
    if now.low > before.high:
        return f"slower, {change}"
    return f"faster, {change}" if now.high < before.low else f"no change beyond chance, {change}"


def _table(weeks: Sequence[Week]) -> str:
    head = ("week", "verdict", "trend of p50", "runs", "turns", "p50 ms", "p95 ms", "map p95 ms", "conflicts", "cards")
    rows = [
        (w.week, w.decision.verdict, w.trend, w.n_runs, w.n_turns, f"{w.p50.value:.0f}", f"{w.p95.value:.0f}",
         f"{w.map_p95:.0f}", w.conflicts, f"{100 * w.share_card_rate:.0f} %")
        for w in weeks
    ]  # fmt: skip
    return markdown_table(head, rows, 3)
