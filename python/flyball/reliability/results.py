"""What a run leaves: a result for each stage, one record of all of them, and the limits that were in force.

Schema 1. A record is a line of history.jsonl; results of stages have the same form in the run's folder.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..evidence.gates import Outcome, Verdict
from ..journal.events import current_id

SCHEMA = 1
_RENAMED_OUTCOMES = {"harmed": "regressed", "helped": "improved", "undecided": "inconclusive"}  # of version 0.1


@dataclass(frozen=True)
class StageResult:
    """`values`: what the stage measured or decided, plain JSON, for later stages and later runs."""

    stage: str
    verdict: Verdict
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "verdict": self.verdict.as_dict(),
            "values": self.values,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> StageResult:
        """As as_dict() gives it."""
        _check_schema(found)
        return cls(found["stage"], Verdict.from_dict(found["verdict"]), _upgraded(found["values"]), found["seconds"])


def _upgraded(values: dict[str, Any]) -> dict[str, Any]:
    """Values of version 0.1 with the current names of reasons and outcomes."""
    upgraded = dict(values)
    for name in ("reasons", "decisions"):
        if isinstance(values.get(name), dict):
            upgraded[name] = {current_id(reason): n for reason, n in values[name].items()}
    if isinstance(values.get("applied"), list):
        upgraded["applied"] = [_upgraded_change(change) for change in values["applied"]]
    return upgraded


def _upgraded_change(change: Any) -> Any:
    outcome = change.get("outcome") if isinstance(change, dict) else None
    is_old = isinstance(outcome, str) and outcome in _RENAMED_OUTCOMES
    return {**change, "outcome": _RENAMED_OUTCOMES[outcome]} if is_old else change


@dataclass(frozen=True)
class Record:
    """A run that came to its end, or (`act`) what a person did to the state.

    `subjects`: digests of what can change: build, model, configuration, policy. `machine`: digest of the processor's
    description, since costs of one machine say nothing of another's. `heal`: the state after it.
    """

    run: str
    time: float  # seconds since 1970
    target: str = "host"
    profile: str = "quick"
    machine: str = ""
    subjects: dict[str, str] = field(default_factory=dict)
    stages: dict[str, StageResult] = field(default_factory=dict)
    heal: dict[str, Any] = field(default_factory=dict)
    act: str = ""

    @property
    def outcome(self) -> Outcome:
        """Fail if any stage does; inconclusive if any cannot tell; else pass."""
        outcomes = {result.verdict.outcome for result in self.stages.values()}
        return next((outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) if outcome in outcomes), Outcome.PASS)

    def values(self, stage: str) -> dict[str, Any]:
        """What a stage left; empty where it did not run."""
        return self.stages[stage].values if stage in self.stages else {}

    def passed(self, stage: str) -> bool:
        """Whether the stage ran and held."""
        return stage in self.stages and self.stages[stage].verdict.outcome is Outcome.PASS

    def failed(self, stage: str) -> bool:
        """Whether the stage ran and did not hold."""
        return stage in self.stages and self.stages[stage].verdict.outcome is Outcome.FAIL

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        stages = {name: result.as_dict() for name, result in self.stages.items()}
        return {"schema": SCHEMA, **{f.name: getattr(self, f.name) for f in fields(self)}, "stages": stages}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Record:
        """As as_dict() gives it."""
        _check_schema(found)
        stages = {name: StageResult.from_dict(result) for name, result in found["stages"].items()}
        names = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in found.items() if key in names} | {"stages": stages})


def _check_schema(found: Mapping[str, Any]) -> None:
    if not isinstance(found, Mapping) or found.get("schema") != SCHEMA:
        raise FormatError("schema", f"is not {SCHEMA}: another version of flyball wrote it")


@dataclass(frozen=True)
class Limits:
    """What is allowed. A file (TOML) replaces single ones; each stage says which were in force, and from where."""

    model_select_ms: float = 2000
    model_prepare_ms: float = 12000
    first_token_ms: float = 2000
    least_slow_down: float = 1.05  # of a series: below it nothing is one
    startup_slow_down: float = 1.25  # of loading, which neighbours move more
    harmful_share: float = 0.40  # of applied changes that were judged
    harmful_streak: int = 4
    adapt_quality: bool = True  # to the model's class and the machine's memory
    quality_window: int = 40  # newest applied changes that count
    stable_streak: int = 5  # stable runs before a trial
    canary_good: float = 0.05  # share of harm that a trial may find
    canary_bad: float = 0.40  # and that it must find
    canary_threshold: int = 75  # confidence that changes need in a trial
    curriculum: bool = True
    drift_level: float = 0.0001  # of all tests of a run together: history is long
    drift_events: int = 100
    warn_percent: float = 15
    fail_percent: float = 30
    bench_slow_down: float = 1.03
    bench_counters: float = 1.01
    sources: dict[str, str] = field(default_factory=dict)  # of those that are not defaults

    @classmethod
    def read(cls, path: Path | None) -> Limits:
        """From a file of `name = value`; others at their defaults."""
        if path is None:
            return cls()
        try:
            found = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FormatError(str(path), f"cannot be read: {error}") from None
        known = {key: value for key, value in asdict(cls()).items() if key != "sources"}
        for key, value in found.items():
            if key not in known:
                raise FormatError(str(path), f"has {key}, must be one of: {', '.join(known)}")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if isinstance(known[key], bool) != isinstance(value, bool) or not (number or isinstance(value, bool)):
                raise FormatError(str(path), f"{key} is {value!r}, must be like {known[key]!r}")
            if number and value < 0:
                raise FormatError(str(path), f"{key} is {value!r}, must not be negative")
        return replace(cls(), **found, sources={key: str(path) for key in found})

    def effective(self, *names: str) -> list[dict[str, Any]]:
        """Limits with where they come from, for the results."""
        return [{"name": n, "value": getattr(self, n), "source": self.sources.get(n, "default")} for n in names]
