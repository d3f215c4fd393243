"""Plot the results: the ratio of every pair, for every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cases import TESTS
from .report import Entry, against, peer_names

_COLORS = ("#3465a4", "#c4630a", "#4e9a06", "#75507b")
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 12, 16)


def draw(document: Mapping[str, Any], out: Path) -> None:
    """One panel per test; right of the line at 1 Flyball is better, whatever the unit. Bars span all rounds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [entry for entry in document["cases"].values() if entry["rounds"]]
    peers = peer_names(entries)
    panels = [(test, [e for e in entries if e["test"] == test]) for test in TESTS]
    panels = [(test, mine) for test, mine in panels if mine]
    if not panels:
        return
    rows = max(len(mine) for _, mine in panels)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, lines * (1.0 + 0.3 * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis, (test, mine) in zip(axes.flat, panels, strict=False):
        _panel(axis, TESTS[test].higher, mine, peers)
        axis.set_title(mine[-1]["title"], fontsize=10)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(peers), frameon=False)
    figure.suptitle("How many times better Flyball is (dots: medians; bars: all rounds; red: behind)", fontsize=12)
    figure.savefig(out, dpi=110, metadata={"Software": None})


def _panel(axis: Any, higher: bool, entries: Sequence[Entry], peers: Sequence[str]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    names = []
    for row, entry in enumerate(entries):
        isa = "" if entry["isa"] == "auto" else f" {entry['isa']}"
        names.append(f"{entry['model']} {entry['type']}{isa}, {entry['threads']} thr.")
        for index, peer in enumerate(peers):
            ratio = against(entry, peer)
            if ratio is None:
                continue
            middle, low, high = ratio.median, ratio.low, ratio.high
            if not higher:
                middle, low, high = 1 / middle, 1 / high, 1 / low
            place = row + 0.2 * (index - (len(peers) - 1) / 2)
            axis.plot([low, high], [place, place], color=_COLORS[index % 4], linewidth=3, alpha=0.35)
            axis.plot([middle], [place], "o", color=_COLORS[index % 4], markersize=5)
    for index, peer in enumerate(peers):  # the same legend in every panel
        axis.plot([], [], "o", color=_COLORS[index % 4], label=f"than {peer}")
    axis.set_xscale("log", base=2)
    left, right = axis.get_xlim()
    axis.set_xlim(min(left, 0.7), max(right, 1.5))
    axis.axvspan(axis.get_xlim()[0], 1, color="#cc0000", alpha=0.07, linewidth=0)  # Flyball is behind
    axis.axvline(1, color="#555555", linewidth=1)
    axis.xaxis.set_major_locator(FixedLocator(_TICKS))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelsize=8)
    axis.set_yticks(range(len(entries)), names, fontsize=8)
    axis.set_ylim(len(entries) - 0.4, -0.6)
    axis.grid(axis="x", alpha=0.3)
