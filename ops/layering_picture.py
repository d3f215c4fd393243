"""Draw the layering from the real includes and imports: an arrow for each use that other arrows do not imply.

    python -m ops.layering_picture docs/images/layering.svg

Each part has its place here; a part of the sources without one is an error, so the picture cannot fall behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

from tests.layering import layers

ROW, BOX = 78, 52  # distance of rows, height of a box
TOP = 74


@dataclass(frozen=True)
class Place:
    row: int  # 0 is the bottom
    left: int
    right: int
    kind: str
    meaning: str

    @property
    def top(self) -> int:
        return TOP + (TOP_ROW - self.row) * ROW

    @property
    def bottom(self) -> int:
        return self.top + BOX

    @property
    def middle(self) -> int:
        return self.top + BOX // 2


TOP_ROW = 10
CORE = (768, 1188)  # left and right edge of the core's column
HALF = ((CORE[0], CORE[0] + 200), (CORE[1] - 200, CORE[1]))

CPP = {
    "base": Place(0, 548, CORE[1], "core", "types, results, arena, text, hashes, exact elementary functions, Platform"),
    "host": Place(1, 548, 728, "hosted", "Platform for Linux"),
    "gguf": Place(1, *CORE, "core", "bytes → checked metadata and tensors"),
    "tokenizer": Place(2, *HALF[0], "core", "text ↔ token ids"),
    "kernels": Place(2, *HALF[1], "core", "one table per instruction set"),
    "model": Place(3, 768, 1040, "core", "one forward pass, driven by a description"),
    "chat": Place(3, 1056, 1188, "core", "chat formats"),
    "runtime": Place(4, 768, 1040, "core", "cache, sampler, metrics, digest"),
    "journal": Place(4, 1056, 1188, "core", "reasons, lines"),
    "governor": Place(5, *CORE, "core", "reports in; plan and events out"),
    "engine": Place(6, 768, 1040, "core", "load, prefill, decode, sample"),
    "settings": Place(6, 1056, 1188, "core", "configuration"),
    "receipt": Place(7, 768, 900, "core", "made, verified"),
    "policy": Place(7, 912, 1044, "core", "at work"),
    "catalog": Place(7, 1056, 1188, "core", "models, tuning"),
    "bind": Place(8, 768, 900, "hosted", "the extension _core"),
    "repl": Place(8, 916, 1188, "core", "commands and prompts"),
    "cli": Place(9, 916, 1044, "hosted", "flyball-repl"),
    "uefi": Place(9, 1060, 1188, "hosted", "Platform, program"),
}
PYTHON = {
    "errors": Place(3, 40, 468, "python", "one family of exceptions"),
    "files": Place(4, 40, 172, "python", "replaced whole"),
    "sandbox": Place(4, 188, 320, "python", "for templates"),
    "template": Place(5, 188, 320, "python", "chat → prompt"),
    "configuration": Place(4, 336, 468, "python", "flyball.toml"),
    "model": Place(6, 40, 320, "python", "sessions, chats, results, receipts"),
    "events": Place(5, 336, 468, "python", "with their reasons"),
    "journal": Place(6, 336, 468, "python", "kept, replayed, told"),
    "stats": Place(7, 188, 320, "python", "exact tests"),
    "drift": Place(8, 40, 172, "python", "of costs"),
    "gates": Place(7, 336, 468, "python", "verdicts"),
    "image": Place(7, 40, 172, "python", "that boots"),
    "bench": Place(8, 188, 468, "python", "frozen cases, builds compared"),
    "reliability": Place(9, 40, 468, "python", "stages: measure, judge, heal"),
    "cli": Place(10, 40, 468, "python", "flyball run, chat, info, verify, …"),
}
WIDTH = 1228

STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; text-anchor: middle; }
  .name { font-size: 16px; font-weight: 600; }
  .meaning { font-size: 12px; }
  .title { font-size: 15px; font-weight: 600; fill: #7d8590; }
  .note { font-size: 12.5px; fill: #7d8590; text-anchor: start; }
  .panel { fill: none; stroke: #7d8590; stroke-opacity: .45; stroke-dasharray: 3 5; }
  .arrow { fill: none; stroke: #7d8590; stroke-width: 1.8; marker-end: url(#head); }
  .python rect { fill: #cfe3f5; stroke: #4a85b8; } .python text { fill: #0f2c47; }
  .core rect { fill: #f6dfae; stroke: #b98522; } .core text { fill: #40300a; }
  .hosted rect { fill: #d6ead0; stroke: #5d9650; } .hosted text { fill: #18381a; }
"""


def reduced(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that no longer path between the same two parts implies."""
    direct: dict[str, set[str]] = {}
    for source, target in edges:
        if source != target:
            direct.setdefault(source, set()).add(target)

    def reachable(part: str) -> set[str]:
        found: set[str] = set()
        waiting = list(direct.get(part, ()))
        while waiting:
            following = waiting.pop()
            if following not in found:
                found.add(following)
                waiting += direct.get(following, ())
        return found

    return sorted(
        (source, target)
        for source, targets in direct.items()
        for target in targets
        if not any(target in reachable(other) for other in targets - {target})
    )


def box(name: str, place: Place) -> str:
    centre = (place.left + place.right) / 2
    return (
        f'<g class="{place.kind}"><rect x="{place.left}" y="{place.top}" width="{place.right - place.left}" '
        f'height="{BOX}" rx="7"/><text class="name" x="{centre}" y="{place.top + 22}">{escape(name)}</text>'
        f'<text class="meaning" x="{centre}" y="{place.top + 41}">{escape(place.meaning)}</text></g>'
    )


def arrow(points: list[tuple[float, float]]) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x:g} {y:g}" for i, (x, y) in enumerate(points))
    return f'<path class="arrow" d="{path}"/>'


def route(source: Place, target: Place, others: Iterable[Place]) -> list[tuple[float, float]]:
    """Straight down where nothing is in the way; else out to the left and down on the target's upper side."""
    left, right = max(source.left, target.left), min(source.right, target.right)
    between = [other for other in others if target.row < other.row < source.row]
    steps = [0.5, 0.25, 0.75, 0.12, 0.88]
    for x in (left + (right - left) * step for step in steps if left < right):
        if not any(other.left - 4 <= x <= other.right + 4 for other in between):
            return [(x, source.bottom), (x, target.top - 2)]
    x = (target.left + target.right) / 2 + 20 * (TOP_ROW - 0.5 - source.row)
    return [(source.left, source.middle), (x, source.middle), (x, target.top - 2)]


def panel(places: dict[str, Place], edges: Iterable[tuple[str, str]]) -> list[str]:
    drawn = []
    for source, target in reduced(edges):
        missing = {source, target} - places.keys()
        if missing:
            raise SystemExit(f"layering_picture: give {', '.join(sorted(missing))} a place")
        drawn.append(arrow(route(places[source], places[target], places.values())))
    return drawn


def closed_up(places: dict[str, Place]) -> dict[str, Place]:
    """Rows that nobody stands in are taken out from between; the highest row keeps its place."""
    rows = sorted({place.row for place in places.values()}, reverse=True)
    return {name: replace(place, row=TOP_ROW - rows.index(place.row)) for name, place in places.items()}


def picture() -> str:
    cpp = [(edge.source, edge.target) for edge in layers.cpp_includes()]
    python = [(edge.source, edge.target) for edge in layers.python_imports()]
    python = [edge for edge in python if "_core" not in edge and "__init__" not in edge]
    cpp_places = closed_up({name: place for name, place in CPP.items() if any(name in edge for edge in cpp)})
    python_places = closed_up({name: place for name, place in PYTHON.items() if any(name in edge for edge in python)})
    bind, cpp_end, python_end = cpp_places["bind"], cpp_places["base"].bottom, python_places["errors"].bottom
    notes = [
        "Drawn from the includes and imports in the sources.",
        "Uses that other arrows imply are left out.",
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {cpp_end + 40}" role="img" '
            'aria-label="Layers of Flyball: Python package, C++ core, platform">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" markerHeight="6.5" '
            'orient="auto"><path d="M0 .6 L7.4 4 L0 7.4 z" fill="#7d8590"/></marker></defs>',
            f'<rect class="panel" x="20" y="{TOP - 20}" width="468" height="{python_end - TOP + 40}" rx="12"/>',
            f'<text class="title" x="254" y="{TOP - 34}">Python package</text>',
            f'<rect class="panel" x="528" y="{TOP - 20}" width="680" height="{cpp_end - TOP + 40}" rx="12"/>',
            f'<text class="title" x="868" y="{TOP - 34}">'
            "C++: freestanding core (yellow), hosted programs and platform (green)</text>",
            *panel(cpp_places, cpp),
            *panel(python_places, python),
            arrow([(488, bind.middle - 10), (bind.left - 2, bind.middle - 10)]),
            f'<text class="note" x="536" y="{bind.middle - 18}">import _core</text>',
            *(box(name, place) for name, place in cpp_places.items()),
            *(box(name, place) for name, place in python_places.items()),
            *(
                f'<text class="note" x="40" y="{cpp_end - 18 + 20 * i}">{escape(note)}</text>'
                for i, note in enumerate(notes)
            ),
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(picture())
