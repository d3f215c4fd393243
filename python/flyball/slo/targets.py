"""Service levels of the scenarios: defaults for the bundled model on two slow processors; slo.toml overrides them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .. import files
from ..errors import FormatError
from ..evidence.limits import MISSES
from ..paths import AnyPath, expanded
from .scenarios import SCENARIOS

FILE = "slo.toml"
_MOST_BYTES = 1 << 20
_LARGEST = 1e9


@dataclass(frozen=True)
class Targets:
    """Of one scenario. `first_token_ms`: 95 % of the iterations; `tokens_per_second`: at least, in half of them."""

    latency_p50_ms: float
    latency_p95_ms: float
    first_token_ms: float
    tokens_per_second: float
    peak_memory_mb: float


DEFAULTS: Mapping[str, Targets] = {  # four to five times what two shared processors took
    "short-question": Targets(150, 300, 150, 50, 150),
    "page-summary": Targets(600, 1_200, 700, 30, 150),
    "json-extraction": Targets(400, 800, 250, 120, 150),
    "tool-call": Targets(600, 1_200, 400, 100, 150),
    "multi-turn-chat": Targets(400, 900, 150, 150, 150),
    "retrieval-answer": Targets(300, 700, 300, 80, 150),
    "classification": Targets(120, 300, 250, 30, 150),
    "code-completion": Targets(450, 1_000, 300, 50, 150),
    "long-document": Targets(1_000, 2_200, 1_800, 15, 150),
    "eight-clients": Targets(1_800, 3_500, 700, 120, 150),
    "free-writing": Targets(250, 600, 120, 120, 150),
}


@dataclass(frozen=True)
class Levels:
    """All service levels. `source`: the file that overrides them, or "".

    objective   the share of good iterations; what it leaves is the error budget
    regression  the ratio of p95 to its baseline that the gate must find
    scenarios   those that the gate wants runs of
    """

    objective: float = 1 - MISSES
    regression: float = 1.10
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    targets: Mapping[str, Targets] = field(default_factory=lambda: DEFAULTS)
    source: str = ""

    @property
    def least_ratio(self) -> float:
        """Below it nothing is a regression. It is nearer than `regression`, as the newest runs' median errs, too."""
        return 1 + 0.8 * (self.regression - 1)


def load(path: AnyPath | None = None) -> Levels:
    """The levels of a file; without a path, of ./slo.toml if there is one, else the defaults."""
    if path is None:
        return load(FILE) if Path(FILE).exists() else Levels()
    name = expanded(path)
    try:
        found = tomllib.loads(files.read(name, _MOST_BYTES).decode())
    except UnicodeDecodeError as error:
        raise FormatError(name, "is not UTF-8; save it as UTF-8", error.start) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(name, f"is not TOML: {error}; docs/slo.md shows one") from None
    _only(name, "", found, ("objective", "regression", "scenarios", "targets"))
    levels = Levels(
        objective=_number(name, "objective", found.get("objective", Levels.objective), 0.5, 0.9999),
        regression=_number(name, "regression", found.get("regression", 1.10), 1.02, 10),
        scenarios=_names(name, found.get("scenarios", list(SCENARIOS))),
        targets=dict(DEFAULTS),
        source=name,
    )
    return replace(levels, targets=_targets(name, found.get("targets", {})))


def _targets(name: str, found: object) -> dict[str, Targets]:
    if not isinstance(found, dict):
        raise FormatError(name, "targets is no table; write [targets.short-question] and its keys below")
    _only(name, "targets", found, tuple(SCENARIOS))
    keys = tuple(each.name for each in fields(Targets))
    made = dict(DEFAULTS)
    for scenario, values in found.items():
        place = f"targets.{scenario}"
        if not isinstance(values, dict):
            raise FormatError(name, f"{place} is no table; write [{place}] and its keys below")
        _only(name, place, values, keys)
        numbers = {key: _number(name, f"{place}.{key}", value, 1e-6, _LARGEST) for key, value in values.items()}
        made[scenario] = replace(DEFAULTS[scenario], **numbers)
        if made[scenario].latency_p50_ms > made[scenario].latency_p95_ms:
            raise FormatError(name, f"{place}.latency_p50_ms is above latency_p95_ms; lower it or raise the other")
    return made


def _only(name: str, place: str, found: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            where = f"{place}.{key}" if place else key
            raise FormatError(name, f"{where[:80]!r} is unknown; use one of: {', '.join(known)}")


def _number(name: str, key: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise FormatError(name, f"{key} is {str(value)[:40]!r}; give a number from {least:g} to {most:g}")
    return float(value)


def _names(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise FormatError(name, 'scenarios is no list of names; write scenarios = ["short-question"]')
    for one in value:
        if one not in SCENARIOS:
            raise FormatError(name, f"scenarios has {one[:40]!r}; flyball bench list shows the names")
    return tuple(dict.fromkeys(value))
