"""The weekly page: what the pilots of each week showed, the trend, the alerts of load runs, and a text to paste.

Weeks are compared only along a line: one scene, the same models, mode and machine. A change of any begins a new line.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NotFound
from ..load.quantiles import Quantile, quantile
from ..load.summary import finite
from ..reliability.pages.report import clip, date, escaped, markdown_table
from .agents import NAMES, sha256_of
from .load_alerts import LoadAlerts
from .record import Record
from .verdict import Decision, decide
from .weeks import week_of


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


def markdown(records: Sequence[Record], most_weeks: int, alerts: LoadAlerts) -> str:
    """The page."""
    all_lines = lines(records)
    parts = [
        "# Pilot KPIs\n",
        f"As of {date(records[-1].time)}, {len(records)} runs. A change of scene, models, mode or machine begins a new"
        " line.\n",
        "## To paste\n",
        "```text",
        to_paste(records, alerts).rstrip("\n"),
        "```\n",
    ]
    for line in all_lines:
        parts += [f"## Line {line.id}\n", f"{escaped(line.about)}.\n", _table(line.weeks[-most_weeks:])]
    parts += ["## Load alerts\n", _alerts(alerts, most_weeks)]
    return "\n".join(parts)


def to_paste(records: Sequence[Record], alerts: LoadAlerts) -> str:
    """The newest week of each line, and the load alerts of the newest week, in words."""
    said = []
    for line in lines(records):
        week = line.weeks[-1]
        why = f" ({'; '.join(week.decision.causes)})" if week.decision.causes else ""
        runs = f"{week.n_turns} turns in {week.n_runs} run{'s' * (week.n_runs != 1)}"
        times = f"turn p50 {week.p50.value:.0f} ms, p95 {week.p95.value:.0f} ms, map p95 {week.map_p95:.0f} ms"
        counts = f"conflicts {week.conflicts}, share cards {100 * week.share_card_rate:.0f} %"
        head = f"{week.week} {clip(line.about, 400)}: {week.decision.verdict}{why}."
        said.append(f"{head} {runs}, {times}, {counts}. Trend: {week.trend}.")
    newest = week_of(records[-1].time)
    of_week = "; ".join(f"{c.n} of {clip(c.component, 80)}, worst {c.worst.said}" for c in alerts.of(newest))
    said.append(f"{newest} load alerts: {of_week or 'none'}{_unread(alerts)}.")
    return "\n".join(said) + "\n"


def as_dict(records: Sequence[Record], alerts: LoadAlerts) -> dict[str, Any]:
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
    breaches = [
        {
            "week": each.week,
            "component": each.component,
            "n": each.n,
            "worst": {
                "metric": each.worst.threshold.metric,
                "threshold": str(each.worst.threshold),
                "observed": finite(each.worst.observed),
            },
        }
        for each in alerts.components
    ]
    said = {"file": alerts.file, "missing": alerts.missing, "n_broken": alerts.n_broken, "weeks": breaches}
    return {"schema": 1, "kind": "kpi", "lines": found, "load_alerts": said, "text": to_paste(records, alerts)}


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


def _alerts(alerts: LoadAlerts, most_weeks: int) -> str:
    weeks = sorted({each.week for each in alerts.components})[-most_weeks:]
    rows = [(c.week, c.component, c.worst.said, c.n) for c in alerts.components if c.week in weeks]
    if not rows:
        return f"None{escaped(_unread(alerts)) or f' in {escaped(alerts.file)}'}.\n"
    table = markdown_table(("week", "component", "worst breach", "alerts"), rows, 3)
    return f"{table}\nFrom {escaped(alerts.file)}{_unread(alerts)}.\n"


def _unread(alerts: LoadAlerts) -> str:
    """What keeps "none" from meaning that nothing happened."""
    if alerts.missing:
        return f"; {clip(alerts.file)} does not exist: no load run has written alerts there"
    return f"; {alerts.n_broken} lines of {clip(alerts.file)} are no alerts" if alerts.n_broken else ""
