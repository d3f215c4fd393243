"""Draw the layering from the real includes and imports: an arrow for each use that other arrows do not imply.

    python -m ops.layering_picture docs/images/layering.svg

Rows and descriptions come from tests/layering/layers.py; this module only does the layout.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from xml.sax.saxutils import escape

from tests.layering import layers

ROW, BOX, GAP, PAD = 84, 56, 16, 20  # distance of rows, height of a box; pixels between boxes and around them
TOP = 74  # of the highest row
PYTHON, CPP, HOST = (40, 520), (620, 1220), 120  # left and right ends of the rows; width of the platforms' column
LANES = [n / d for d in (2, 4, 8, 16) for n in range(1, d, 2)]  # positions where an arrow may leave a box, best first
APART = 16  # pixels between arrows

STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; text-anchor: middle; }
  .name { font-size: 16px; font-weight: 600; }
  .meaning { font-size: 12px; }
  .title { font-size: 15px; font-weight: 600; fill: #7d8590; }
  .note { font-size: 12.5px; fill: #7d8590; }
  .panel { fill: none; stroke: #7d8590; stroke-opacity: .45; stroke-dasharray: 3 5; }
  .arrow { fill: none; stroke: #7d8590; stroke-width: 1.8; marker-end: url(#head); }
  .python rect { fill: #cfe3f5; stroke: #4a85b8; } .python text { fill: #0f2c47; }
  .core rect { fill: #f6dfae; stroke: #b98522; } .core text { fill: #40300a; }
  .hosted rect { fill: #d6ead0; stroke: #5d9650; } .hosted text { fill: #18381a; }
"""


@dataclass(frozen=True)
class Box:
    left: float
    right: float
    top: float
    bottom: float

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def in_rows(rows: Sequence[Sequence[str]], ends: tuple[float, float]) -> dict[str, Box]:
    """Boxes of rows, the lowest row first; boxes of a row share its width."""
    boxes = {}
    for number, row in enumerate(reversed(rows)):
        width = (ends[1] - ends[0] + GAP) / len(row)
        for i, name in enumerate(row):
            left, top = ends[0] + i * width, TOP + number * ROW
            boxes[name] = Box(left, left + width - GAP, top, top + BOX)
    return boxes


def python_boxes() -> dict[str, Box]:
    """The rows of packages, without private modules and the package's __init__."""
    rows = [[name for name in row if name[0] != "_"] for row in layers.PYTHON_ROWS if "__init__" not in row]
    return in_rows([row for row in rows if row], PYTHON)


def cpp_boxes() -> dict[str, Box]:
    """The core, between the lowest row and the programs' row, and a column of platforms beside it."""
    rows = layers.CPP_ROWS
    wide, narrow = in_rows(rows, CPP), in_rows(rows, (CPP[0] + HOST + GAP, CPP[1]))
    boxes = {name: (wide if name in rows[0] + rows[-1] else narrow)[name] for row in rows for name in row}
    beside = in_rows([layers.CPP_PLATFORMS], (CPP[0], CPP[0] + HOST))
    top, bottom = boxes[rows[-2][0]].top, boxes[rows[1][0]].bottom
    return boxes | {name: replace(box, top=top, bottom=bottom) for name, box in beside.items()}


def reduced(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The transitive reduction: edges that no longer path implies."""
    direct: dict[str, set[str]] = {}
    for source, target in edges:
        if source != target:
            direct.setdefault(source, set()).add(target)

    def reachable(part: str) -> set[str]:
        return {part}.union(*map(reachable, direct.get(part, ())))

    return sorted(
        (source, target)
        for source, targets in direct.items()
        for target in targets
        if not any(target in reachable(other) for other in targets - {target})
    )


def arrow(points: Iterable[tuple[float, float]]) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))
    return f'<path class="arrow" d="{path}"/>'


def arrows(boxes: dict[str, Box], edges: Iterable[tuple[str, str]]) -> list[str]:
    """An arrow straight down, behind boxes in between; steps aside below the source if the target is not under it."""
    drawn: list[str] = []
    taken: list[tuple[float, float, float]] = []
    turns: Counter[float] = Counter()

    def lane(left: float, right: float, top: float, bottom: float) -> float:
        for x in (left + (right - left) * part for part in LANES):
            if all(abs(x - other) >= APART or bottom <= above or below <= top for other, above, below in taken):
                break
        taken.append((x, top, bottom))
        return x

    pairs = [(boxes[source], boxes[target]) for source, target in reduced(edges)]
    for source, target in sorted(pairs, key=lambda pair: pair[1].top - pair[0].bottom):
        left, right = max(source.left, target.left) + 8, min(source.right, target.right) - 8
        start, end = source.bottom, target.top - 2
        if left <= right:
            x = lane(left, right, start, end)
            drawn.append(arrow([(x, start), (x, end)]))
        else:
            step = start + 5 + 5 * (turns[start] % 3)  # so that two in one gap do not overlap
            turns[start] += 1
            x, to = lane(source.left + 8, source.right - 8, start, step), lane(target.left, target.right, step, end)
            drawn.append(arrow([(x, start), (x, step), (to, step), (to, end)]))
    return drawn


def draw_box(name: str, box: Box, kind: str) -> str:
    """A box with its name and at most two lines of description."""
    meaning = layers.python_meaning(name) if kind == "python" else layers.CPP_MEANING.get(name, "")
    (x, y), width, height = box.middle, box.right - box.left, box.bottom - box.top
    lines = wrap(meaning, int(width / 6.2))[:2]
    y += 6 - 8.5 * len(lines)
    texts = [f'<text class="name" x="{x:g}" y="{y:g}">{escape(name)}</text>']
    for i, line in enumerate(lines):
        texts.append(f'<text class="meaning" x="{x:g}" y="{y + 18 + 14 * i:g}">{escape(line)}</text>')
    place = f'x="{box.left:g}" y="{box.top:g}" width="{width:g}" height="{height:g}"'
    return f'<g class="{kind}"><rect {place} rx="7"/>{"".join(texts)}</g>'


def draw(boxes: dict[str, Box], edges: Iterable[layers.Edge], title: str, kinds: dict[str, str]) -> list[str]:
    """A panel: frame, title and arrows, with the boxes on top."""
    used = {(edge.source.split(".")[0], edge.target.split(".")[0]) for edge in edges}
    left, right = min(box.left for box in boxes.values()) - PAD, max(box.right for box in boxes.values()) + PAD
    height = max(box.bottom for box in boxes.values()) - TOP + 2 * PAD
    return [
        f'<rect class="panel" x="{left:g}" y="{TOP - PAD}" width="{right - left:g}" height="{height:g}" rx="12"/>',
        f'<text class="title" x="{(left + right) / 2:g}" y="{TOP - PAD - 14}">{escape(title)}</text>',
        *arrows(boxes, (edge for edge in used if boxes.keys() >= {*edge})),
        *(draw_box(name, box, kinds[name]) for name, box in boxes.items()),
    ]


def picture() -> str:
    python, cpp = python_boxes(), cpp_boxes()
    hosted = layers.CPP_PLATFORMS + layers.CPP_PROGRAMS
    end = max(box.bottom for box in (*python.values(), *cpp.values())) + PAD
    bind, edge = cpp["bind"], PYTHON[1] + PAD
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CPP[1] + 2 * PAD} {end + 40:g}" role="img" '
            'aria-label="Layers of Flyball: Python package, C++ core, platform">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" markerHeight="6.5" '
            'orient="auto"><path d="M0 .6 L7.4 4 L0 7.4 z" fill="#7d8590"/></marker></defs>',
            *draw(python, layers.python_imports(), "Python package", dict.fromkeys(python, "python")),
            *draw(
                cpp,
                layers.cpp_includes(),
                "C++: freestanding core (yellow), hosted programs and platform (green)",
                {name: "hosted" if name in hosted else "core" for name in cpp},
            ),
            arrow([(edge, bind.middle[1]), (bind.left - 2, bind.middle[1])]),
            f'<text class="note" x="{(edge + CPP[0] - PAD) / 2:g}" y="{bind.middle[1] - 8:g}">_core</text>',
            f'<text class="note" x="{(PYTHON[0] + CPP[1]) / 2:g}" y="{end + 24:g}">'
            "Drawn from the includes and imports in the sources. Uses that other arrows imply are left out.</text>",
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(picture())
