"""Trends of the dashboard: a value over runs, its axis, and the positions in a plot.

Numbers are formatted here or in the dashboard; the pages only place them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results import Limits, Record
from .report import number, quantity

Figure = dict[str, Any]  # {"value": the number, "shown": its text}
Document = dict[str, Any]


@dataclass(frozen=True)
class Trend:
    """A line over runs. `stage`, `path`: the place of its values. `most`: the axis goes from zero to this."""

    name: str
    title: str
    unit: str
    stage: str
    path: tuple[str, ...]
    limit: str = ""  # its name in Limits
    factor: float = 1.0
    most: float | None = None

    def value(self, record: Record) -> float | None:
        """The value of a run, or None."""
        value = number(record.values(self.stage), *self.path)
        return value if value is None or self.factor == 1 else value * self.factor


TRENDS = (
    Trend("decode_cost", "Decode cost", "× reference workload", "metrics", ("cost", "decode")),
    Trend("prefill_cost", "Prefill cost", "× reference workload", "metrics", ("cost", "prefill")),
    Trend("load_cost", "Load cost", "× reference workload", "startup", ("cost",)),
    Trend("decode_cycles", "Median decode", "cycles per token", "metrics", ("decode", "p50")),
    Trend("prefill_cycles", "Median prefill", "cycles per token", "metrics", ("prefill", "p50")),
    Trend("model_select", "Selecting the model", "ms", "startup", ("model_select_ms",), "model_select_ms"),
    Trend("model_prepare", "Preparing the model", "ms", "startup", ("model_prepare_ms",), "model_prepare_ms"),
    Trend("first_token", "First token", "ms", "startup", ("first_token_ms",), "first_token_ms"),
    Trend("harmful", "Harmful share", "%", "quality", ("harmful_share",), "harmful_share", 100.0, most=100),
    Trend("threshold", "Confidence threshold", "of 100", "curriculum", ("threshold",), most=100),
)


def figure(value: float | None, shown: str) -> Figure:
    """A number with its text."""
    return {"value": value, "shown": shown}


def figure_of(value: float | None, unit: str = "") -> Figure:
    """A number with four digits and its unit."""
    return figure(value, quantity(value, unit))


def trend_of(trend: Trend, runs: Sequence[Record], first: int, limits: Limits) -> Document | None:
    """The trend's part of the document; None if no run has a value."""
    values = [trend.value(record) for record in runs[first:]]
    known = [value for value in values if value is not None]
    if not known:
        return None
    limit = _limit(trend, runs[-1], limits)
    # A limit far above the values would flatten the line, so it is named but not drawn.
    drawn = limit is not None and (trend.most is not None or limit <= 1.5 * max(known))
    ticks = _ticks([*known, limit] if drawn and limit is not None else known, trend.most)
    return {
        "name": trend.name,
        "title": trend.title,
        "about": f"{trend.title}, {trend.unit}",
        "unit": trend.unit,
        "points": [None if value is None else figure_of(value) for value in values],
        "ticks": ticks,
        "newest": figure_of(values[-1]),
        "median": figure_of(statistics.median_low(known)),
        "least": figure_of(min(known)),
        "most": figure_of(max(known)),
        "limit": figure(limit, f"{limit:,.10g}") | {"drawn": drawn} if limit is not None else None,
    }


def _limit(trend: Trend, now: Record, limits: Limits) -> float | None:
    """The limit that the stage reports as in force, else the configured one."""
    if not trend.limit:
        return None
    value = number(getattr(limits, trend.limit))
    found = now.values(trend.stage).get("limits")
    for row in found if isinstance(found, list) else []:
        if isinstance(row, Mapping) and row.get("name") in (trend.limit, f"{trend.limit}, effective"):
            reported = number(row, "value")
            value = value if reported is None else reported
    return None if value is None else value * trend.factor


def _step(least: float) -> float:
    """The next larger of 1, 2, 2.5 and 5 times a power of ten."""
    magnitude = 10.0 ** math.floor(math.log10(least))
    return next(m * magnitude for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * magnitude >= least * (1 - 1e-9))


def _ticks(values: Sequence[float], most: float | None) -> list[Figure]:
    """Ticks of an axis for all values; its minimum span keeps small noise small."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.02 * max(abs(low), abs(high)), 1e-6)
    bottom, top = (max(low - room, 0.0) if low >= 0 else low - room), high + room
    if most is not None:
        bottom, top = min(bottom, 0.0), max(high, min(top, most))
    step = _step((top - bottom) / 4)
    numbers = [i * step for i in range(math.floor(bottom / step), math.ceil(top / step - 1e-9) + 1)]
    size = max(map(abs, numbers))
    scale, suffix = (1e9, " G") if size >= 1e9 else (1e6, " M") if size >= 1e6 else (1.0, "")
    decimals = next((d for d in range(7) if abs(round(step / scale, d) * scale - step) < 1e-6 * step), 7)
    return [figure(x, f"{x / scale:,.{decimals}f}{suffix if x else ''}") for x in numbers]


def run_ticks(first: int, last: int) -> list[int]:
    """Run numbers to label on the axis."""
    if last - first < 6:
        return list(range(first, last + 1))
    step = max(1, round(_step((last - first) / 6)))
    return [n for n in range(first, last + 1) if n % step == 0]


_WIDTH, _HEIGHT = 400.0, 200.0  # of a plot, in SVG units
_TOP, _RIGHT, _BOTTOM = 24.0, 12.0, 34.0
_DIGIT = 6.1  # width of a digit in a label


def placed(trend: Document, runs: Sequence[Document], run_ticks: Sequence[Figure]) -> Document:
    """The positions of a trend's parts in a plot."""
    left = 14 + _DIGIT * max(len(tick["shown"]) for tick in trend["ticks"])
    low, high = float(trend["ticks"][0]["value"]), float(trend["ticks"][-1]["value"])
    first, last = runs[0]["number"]["value"], runs[-1]["number"]["value"]

    def x(n: float) -> float:
        at = (n - first) / (last - first) if last > first else 0.5
        return round(left + 6 + (_WIDTH - left - 6 - _RIGHT) * at, 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * (value - low) / (high - low), 1)

    points, line, pen_down = [], [], False
    for run, point in zip(runs, trend["points"], strict=True):
        if point is None:
            pen_down = False
            continue
        at = x(run["number"]["value"]), y(point["value"])
        line.append(f"{'L' if pen_down else 'M'}{at[0]} {at[1]}")
        pen_down = True
        points.append({"x": at[0], "y": at[1], "run": run, "shown": point["shown"]})
    limit = trend["limit"]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": round(left, 1),
        "right": _WIDTH - _RIGHT,
        "top": _TOP,
        "bottom": _HEIGHT - _BOTTOM,
        "line": " ".join(line),
        "points": points,
        "reach": round(max(6.0, (_WIDTH - left - _RIGHT) / max(1, len(runs) - 1)), 1),
        "y_ticks": [{"at": y(tick["value"]), "shown": tick["shown"]} for tick in trend["ticks"]],
        "x_ticks": [{"at": x(tick["value"]), "shown": tick["shown"]} for tick in run_ticks],
        "limit": {"at": y(limit["value"]), "shown": limit["shown"]} if limit and limit["drawn"] else None,
    }
