"""A loss curve: a line of text for terminals, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 260, 52, 34, 34
_COLORS = (
    "text{fill:#1b1f24}.axis{stroke:#8a949e}.raw{stroke:#b7c4d1}.line{stroke:#0b62a8}.page{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ed}.raw{stroke:#44505c}.line{stroke:#5db4f0}.page{fill:#181e25}}"
)


def sparkline(losses: Sequence[float], width: int) -> str:
    """At most `width` bars, each the mean of its part; the lowest bar is the least loss."""
    parts = _parts(losses, width)
    least, most = min(parts), max(parts)
    step = (most - least) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((value - least) / step)] for value in parts)


def svg(losses: Sequence[float], title: str) -> str:
    """Loss by step, as SVG for light and dark pages: every step, and the mean of 20 parts."""
    most = max(*losses, 1e-9)
    wide, high = _WIDTH - _LEFT - 12, _HEIGHT - _TOP - _BOTTOM

    def line(kind: str, values: Sequence[float]) -> str:
        across = wide / max(len(values) - 1, 1)
        points = " ".join(f"{_LEFT + i * across:.1f},{_TOP + high * (1 - y / most):.1f}" for i, y in enumerate(values))
        return f'<polyline class="{kind}" fill="none" stroke-width="1.6" points="{points}"/>'

    bottom = _TOP + high
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        'font-family="sans-serif" font-size="13">',
        f"<style>{_COLORS}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text x="{_LEFT}" y="20">{title}</text>',
        f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - 12}"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 5}" text-anchor="end">{most:.2g}</text>',
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{_WIDTH - 12}" y="{bottom + 20}" text-anchor="end">step {len(losses)}</text>',
        line("raw", losses),
        line("line", _parts(losses, 20)),
        "</svg>\n",
    ])  # fmt: skip


def _parts(losses: Sequence[float], n: int) -> list[float]:
    """The means of at most n parts of nearly equal length."""
    n = min(n, len(losses))
    edges = [len(losses) * i // n for i in range(n + 1)]
    return [fmean(losses[a:b]) for a, b in pairwise(edges)]
