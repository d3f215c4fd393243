"""Plot the results of one machine or several: the ratio of every pair, for every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import TESTS
from .report import Entry, against, machine_name, peer_names

_COLORS = ("#3465a4", "#c4630a", "#4e9a06", "#75507b", "#cc0000", "#2e8b8b")
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)


Row = tuple[str, str, str, int]  # model, type, instruction set, threads


def draw(documents: Sequence[Mapping[str, Any]], out: Path) -> None:
    """One panel per test; right of the line at 1 Flyball is better, whatever the unit. Bars span all rounds.

    Each color is another program, or the same one on another machine.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = series_of(documents)
    measured = [measured_in(document) for document in documents]
    panels = [test for test in TESTS if any(entry["test"] == test for entries in measured for entry in entries)]
    if not panels:
        return
    rows = {
        test: list(dict.fromkeys(_row(e) for mine in measured for e in mine if e["test"] == test)) for test in panels
    }
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    height = 1.0 + (0.2 + 0.05 * len(series)) * max(map(len, rows.values()))
    figure = Figure(figsize=(5.2 * columns, lines * height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, test in zip(axes.flat, panels, strict=False):
        _panel(axis, TESTS[test].higher, test, rows[test], series)
        title = [entry["title"] for entries in measured for entry in entries if entry["test"] == test][-1]
        axis.set_title(title, fontsize=10)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(series), 4), frameon=False)
    figure.suptitle("How many times better Flyball is (dots: medians; bars: all rounds; red: behind)", fontsize=12)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def measured_in(document: Mapping[str, Any]) -> list[Entry]:
    """The cases of a machine that have figures."""
    return [entry for entry in document["cases"].values() if entry["rounds"]]


def series_of(documents: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[Entry]]]:
    """(Label, program, cases) of what has a color of its own."""
    found = []
    for document in documents:
        place = f" on {machine_name(document)}" if len(documents) > 1 else ""
        entries = measured_in(document)
        found += [
            (f"than {peer}{place}", peer, entries)
            for peer in peer_names(entries)
            if any(against(entry, peer) for entry in entries)
        ]
    return found


def _row(entry: Entry) -> Row:
    return entry["model"], entry["type"], entry["isa"], entry["threads"]


def _panel(
    axis: Any, higher: bool, test: str, rows: Sequence[Row], series: Sequence[tuple[str, str, Sequence[Entry]]]
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    names = [
        f"{model} {kind}{'' if isa == 'auto' else f' {isa}'}, {threads} thr." for model, kind, isa, threads in rows
    ]
    for index, (_, peer, entries) in enumerate(series):
        color = _COLORS[index % len(_COLORS)]
        for entry in entries:
            ratio = against(entry, peer) if entry["test"] == test else None
            if ratio is None:
                continue
            middle, low, high = ratio.median, ratio.low, ratio.high
            if not higher:
                middle, low, high = 1 / middle, 1 / high, 1 / low
            place = rows.index(_row(entry)) + 0.7 * ((index + 0.5) / len(series) - 0.5)
            axis.plot([low, high], [place, place], color=color, linewidth=3, alpha=0.35)
            axis.plot([middle], [place], "o", color=color, markersize=5)
    for index, (label, _, _) in enumerate(series):  # the same legend in every panel
        axis.plot([], [], "o", color=_COLORS[index % len(_COLORS)], label=label)
    axis.set_xscale("log", base=2)
    left, right = axis.get_xlim()
    axis.set_xlim(min(left, 0.7), max(right, 1.5))
    axis.axvspan(axis.get_xlim()[0], 1, color="#cc0000", alpha=0.07, linewidth=0)  # Flyball is behind
    axis.axvline(1, color="#555555", linewidth=1)
    axis.xaxis.set_major_locator(FixedLocator(_TICKS))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelsize=8)
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)
