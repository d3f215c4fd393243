"""A cache against none: equal answers are asserted, then times are compared in pairs. Here the prefix cache.

Four ways to answer the same question, in turn: off (no cache), cold (a cache without the prompt), warm (with it), and
foreign (with it, but of another project, which must find as little as cold does).
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..engine.model import Model
from ..errors import InternalError
from ..evidence import stats
from ..reliability.pages.report import markdown_table
from .run import Progress, Sample, once
from .scenarios import Scenario, prepare

CACHES = {"prefix": "the prefix cache", "response": "the cache of answers"}
MODES = ("off", *CACHES)
_WHATS = {"prefix": "prompt", "response": "answer"}
WAYS = ("off", "cold", "warm", "foreign")
FILES = ("cache_savings.md", "cache_savings.svg")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Savings:
    """A scenario answered in each way; samples of one index were measured in turn."""

    scenario: str
    samples: Mapping[str, tuple[Sample, ...]]

    def speed_up(self, way: str) -> tuple[float, float]:
        """Median of time without cache over time this way, and its lower bound (95 %; 0: too few pairs)."""
        pairs = zip(self.samples["off"], self.samples[way], strict=True)
        logs = [math.log(off.ms / this.ms) for off, this in pairs]
        return math.exp(statistics.median(logs)), math.exp(stats.median_lower_bound(logs, _CONFIDENCE))

    def saved(self, way: str) -> int:
        """Prompt tokens of an iteration that were not computed."""
        return self.samples[way][0].cached_tokens

    def median_ms(self, way: str) -> float:
        """Median time of an iteration."""
        return statistics.median(sample.ms for sample in self.samples[way])


def compare(off: Model, cached: Model, scenario: Scenario, iterations: int, progress: Progress) -> Savings:
    """Measure all ways; raises InternalError if an answer depends on the cache."""
    first, second = prepare(scenario, off), prepare(scenario, cached)
    order = random.Random(scenario.name)
    samples: dict[str, list[Sample]] = {way: [] for way in WAYS}
    once(off, first)  # warm-up
    once(cached, second)
    for done in range(iterations):
        progress("compare", done, iterations)
        root = f"{scenario.name} {done}".encode()
        rounds = [("off",), ("cold", "warm", "foreign")]  # warm follows cold, which fills the cache
        for way in (way for ways in order.sample(rounds, 2) for way in ways):
            if way == "off":
                sample, _ = once(off, first)
            else:
                sample, _ = once(cached, second, root + (b" other" if way == "foreign" else b""))
            samples[way].append(sample)
    progress("compare", iterations, iterations)
    return checked(scenario.name, samples, CACHES["prefix"])


def checked(name: str, samples: Mapping[str, Sequence[Sample]], cache: str) -> Savings:
    """The samples, if all ways gave the same answers, and no project found what another one asked."""
    expected = samples["off"][0].digests
    for way, found in samples.items():
        if any(sample.digests != expected for sample in found):
            raise InternalError(name, f"gives another answer with {cache} ({way}): report it")
    for cold, foreign in zip(samples["cold"], samples["foreign"], strict=True):
        if foreign.cached_tokens > cold.cached_tokens:
            raise InternalError(name, f"finds another project's prompt in {cache}: report it")
    return Savings(name, {way: tuple(found) for way, found in samples.items()})


def write(folder: Path, found: Sequence[Savings], model: str, mode: str = "prefix") -> None:
    """Write cache_savings.md and its plot."""
    files.write(folder / FILES[0], markdown(found, model, mode))
    files.write(folder / FILES[1], plot(found))


def markdown(found: Sequence[Savings], model: str, mode: str = "prefix") -> str:
    """A table of all scenarios."""
    head = ("scenario", "ms off", *(f"ms {way}" for way in WAYS[1:]), "speed-up warm", "at least", "tokens saved")
    rows = []
    for one in found:
        ratio, lower = one.speed_up("warm")
        times = [f"{one.median_ms(way):,.1f}" for way in WAYS]
        rows.append((one.scenario, *times, f"{ratio:.2f}", f"{lower:.2f}" if lower else "–", f"{one.saved('warm')}"))
    n = len(found[0].samples["off"])
    return (
        f"# What {CACHES[mode]} saves\n\n{model}; {n} iterations, all ways in turn, medians. Every answer has the"
        f" same digest in every way.\n\n{markdown_table(head, rows)}\n"
        f"off: no cache. cold: a cache without this {_WHATS[mode]}. warm: with it. foreign: another project asks,"
        " which finds what cold finds.\n"
        "at least: lower bound of the median speed-up (95 %); –: too few iterations for one.\n\n"
        f"![Time of an iteration without cache and with a warm one]({FILES[1]})\n"
    )


def plot(found: Sequence[Savings]) -> str:
    """Two bars for each scenario, as SVG for light and dark pages."""
    row, left, width = 44, 150, 640
    height = 58 + row * len(found)
    most = max(one.median_ms(way) for one in found for way in ("off", "warm"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        'font-family="sans-serif" font-size="13">',
        "<style>text{fill:#1b1f24}.off{fill:#8a949e}.warm{fill:#0b62a8}.page{fill:#fff}"
        "@media(prefers-color-scheme:dark){text{fill:#e6e9ed}.off{fill:#7b8794}.warm{fill:#5db4f0}.page{fill:#181e25}}"
        "</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<rect class="off" x="{left}" y="12" width="12" height="12"/><text x="{left + 18}" y="23">off</text>',
        f'<rect class="warm" x="{left + 70}" y="12" width="12" height="12"/><text x="{left + 88}" y="23">warm</text>',
        f'<text x="{left + 150}" y="23">milliseconds, medians</text>',
    ]
    for i, one in enumerate(found):
        top = 44 + row * i
        parts.append(f'<text x="{left - 10}" y="{top + 18}" text-anchor="end">{one.scenario}</text>')
        for j, way in enumerate(("off", "warm")):
            ms = one.median_ms(way)
            size = max(1.0, (width - left - 90) * ms / most)
            y = top + 15 * j
            parts.append(f'<rect class="{way}" x="{left}" y="{y}" width="{size:.1f}" height="13"/>')
            parts.append(f'<text x="{left + size + 6:.1f}" y="{y + 11}" font-size="11">{ms:,.0f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def as_dict(found: Savings) -> dict[str, Any]:
    """For JSON: `at_least` is the lower bound of the median speed-up, null for too few iterations."""
    ways = {}
    for way, samples in found.samples.items():
        ratio, lower = found.speed_up(way)
        ways[way] = {
            "ms": [sample.ms for sample in samples],
            "tokens_saved": found.saved(way),
            "speed_up": ratio,
            "at_least": lower or None,
            "peak_memory_mb": max(sample.peak_memory_mb for sample in samples),
        }
    return {"scenario": found.scenario, "digests": list(found.samples["off"][0].digests), "ways": ways}
