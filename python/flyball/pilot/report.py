"""The summary of a record, and its page in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..load.quantiles import Quantile, quantile
from ..reliability.pages.report import clean, date, escaped, markdown_table, percent
from .agents import NAMES
from .record import Record
from .split import PARTS

Summary = dict[str, Any]
_SHOWN = 10  # newest turns whose safe function the page shows


def summary(record: Record) -> Summary:
    """The figures that the turns give; of quantiles with bounds, a bound is null where there are too few turns."""
    turns, decision = record.turns, record.decision
    n = len(turns)
    every = [call for turn in turns for call in turn.calls]
    ms = [turn.turn_duration_ms for turn in turns]
    return {
        "verdict": str(decision.verdict),
        "causes": list(decision.causes),
        "findings": [finding.as_dict() for finding in decision.findings],
        "n_turns": n,
        "avg_turn_duration_s": sum(ms) / n / 1e3,
        "turn_duration_ms": _quantiles(ms),
        "map_fn_latency_ms": _quantiles([turn.map_fn_latency_ms for turn in turns]),
        "snapshot_batch_ms": _quantiles([turn.snapshot_batch_ms for turn in turns]),
        "agent_latency_ms": {
            name: _quantiles([call.latency_ms for call in every if call.agent == name]) for name in NAMES
        },
        "split_ms": {part: sum(getattr(turn.split, part) for turn in turns) / n for part in PARTS},
        "conflicts": sum(turn.conflicts for turn in turns),
        "meta_share_card_rate": sum(turn.share_card for turn in turns) / n,
        "n_calls": len(every),
        "n_unusable": sum(not call.usable for call in every),
        "n_receipts": sum(call.digest is not None for call in every),
        "n_refused": sum(bool(turn.safe.refused) for turn in turns),
    }


def write(folder: Path, record: Record) -> tuple[Path, Path]:
    """Write perf_report_<time>.json and .md; a name that is taken gets a number."""
    stem = f"perf_report_{date(record.time, '%Y%m%d-%H%M%S')}"
    path, number = folder / f"{stem}.json", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.json"
    record.save(path)
    return path, files.write(path.with_suffix(".md"), markdown(record))


def markdown(record: Record) -> str:
    """The page."""
    s = summary(record)
    about = f"{record.mode}, {s['n_turns']} turns, {date(record.time)}, Flyball {record.version}, {record.machine}"
    prefetch = ", ".join(f"{name}: {n} bytes" for name, n in record.profile.prefetch.items()) or "nothing was read"
    limits = [
        (f["name"], f"{f['limit']:g}", f["over"], f["n"], percent(f["low"]), percent(f["high"]), f["outcome"])
        for f in s["findings"]
    ]
    times = [_times(name, s[name]) for name in ("turn_duration_ms", "map_fn_latency_ms", "snapshot_batch_ms")]
    times += [_times(f"agent {name}", s["agent_latency_ms"][name]) for name in NAMES]
    models = [
        (name, record.profile.variants[name], about.name, about.quantization, about.place or "in process")
        for name, about in record.models.items()
    ]
    safe = [
        (turn.turn, turn.safe.function, turn.safe.input, turn.safe.output, f"{turn.map_fn_latency_ms:.1f}")
        for turn in record.turns[-_SHOWN:]
    ]
    parts = [
        f"# Pilot {escaped(record.tag)}: {s['verdict']}\n",
        f"{escaped(about)}.\n",
        "".join(f"- {sentence(cause)}\n" for cause in s["causes"]),
        "## Limits\n",
        markdown_table(("figure", "limit", "over it", "of", "at least", "at most", "outcome"), limits),
        "## Times in milliseconds\n",
        markdown_table(("what", "p50", "p95", "p95 at least", "p95 at most"), times),
        "Of a turn, on average: " + ", ".join(f"{name} {s['split_ms'][name]:.1f} ms" for name in PARTS) + ".\n",
        "## Models\n",
        f"Profile {escaped(record.profile.name)}. Warm-up: {escaped(prefetch)}.\n",
        markdown_table(("agent", "variant", "model", "quantization", "where"), models, 5),
        "## Meta progression\n",
        f"Share cards: {percent(s['meta_share_card_rate'])} of the turns. Conflicts of micro-actions: {s['conflicts']}."
        f" Answers that did not fit their schema: {s['n_unusable']} of {s['n_calls']}; with a receipt:"
        f" {s['n_receipts']}.\n",
        "## Map safe function\n",
        markdown_table(("turn", "function", "input", "output", "map_fn_latency_ms"), safe, 4),
    ]
    return "\n".join(parts)


def text(record: Record) -> str:
    """A few lines for a terminal."""
    s = summary(record)
    turn, helper = s["turn_duration_ms"], s["map_fn_latency_ms"]
    lines = [
        f"{s['verdict']}: {record.mode}, {s['n_turns']} turns, tag {clean(record.tag)}",
        *(f"  {cause}" for cause in s["causes"]),
        f"turn_duration_ms p50 {turn['p50']:.1f}, p95 {turn['p95']:.1f}; map_fn_latency_ms p95 {helper['p95']:.1f};"
        f" conflicts {s['conflicts']}; share cards {100 * s['meta_share_card_rate']:.0f} %",
        "of a turn: " + ", ".join(f"{name} {s['split_ms'][name]:.1f} ms" for name in PARTS),
        f"{s['n_receipts']} of {s['n_calls']} answers have a receipt, {s['n_unusable']} did not fit their schema",
    ]
    return "\n".join(lines) + "\n"


def sentence(text: str) -> str:
    """Of a sentence of this package, which is longer than a cell: only what Markdown would take for its own."""
    return text.replace("_", "\\_")


def _quantiles(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    p50, p95 = quantile(ordered, 0.5), quantile(ordered, 0.95)
    return {"p50": p50.value, **_bounded("p50", p50), "p95": p95.value, **_bounded("p95", p95)}


def _bounded(name: str, found: Quantile) -> dict[str, float | None]:
    bounds = {f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: value if abs(value) != float("inf") else None for key, value in bounds.items()}


def _times(name: str, of: dict[str, float | None]) -> list[str]:
    names = ("p50", "p95", "p95_low", "p95_high")
    return [name, *("-" if (value := of[key]) is None else f"{value:.1f}" for key in names)]
