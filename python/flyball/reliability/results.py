"""Results of stages, records of runs, and limits.

Schema 1. A record is a line of history.jsonl; results of stages have the same form in the run's folder.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..evidence.gates import Outcome, Verdict
from ..journal.events import current_id

SCHEMA = 1
MODES = ("fail", "warn", "off")  # of stages: judged, told as a warning, not run
_RENAMED_OUTCOMES = {"harmed": "regressed", "helped": "improved", "undecided": "inconclusive"}  # of version 0.1


@dataclass(frozen=True)
class StageResult:
    """`values`: the stage's measurements and decisions as plain JSON, for later stages and runs.

    `mode`: a stage with "warn" has its true verdict, which does not count for the run's; one with "off" did not run.
    """

    stage: str
    verdict: Verdict
    values: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    mode: str = "fail"

    @property
    def counts(self) -> bool:
        """Whether its verdict counts for the run's."""
        return self.mode == "fail"

    @property
    def label(self) -> str:
        """The verdict in words: pass, fail, inconclusive, "fail (warning)", off."""
        if self.mode == "off":
            return "off"
        outcome = self.verdict.outcome
        return str(outcome) if self.counts or outcome is Outcome.PASS else f"{outcome} (warning)"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schema": SCHEMA,
            "stage": self.stage,
            "verdict": self.verdict.as_dict(),
            "values": self.values,
            "seconds": self.seconds,
            "mode": self.mode,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> StageResult:
        """From as_dict()."""
        _check_schema(found)
        verdict = Verdict.from_dict(_of_type(found, "verdict", dict))
        values, seconds = _of_type(found, "values", dict), _of_type(found, "seconds", int | float)
        mode = found.get("mode", "fail")
        if mode not in MODES:
            raise FormatError("mode", f"is {mode!r}, must be one of: {', '.join(MODES)}")
        return cls(_of_type(found, "stage", str), verdict, _upgraded(values), seconds, mode)


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
    if isinstance(change, dict) and isinstance(outcome := change.get("outcome"), str):
        return {**change, "outcome": _RENAMED_OUTCOMES.get(outcome, outcome)}
    return change


@dataclass(frozen=True)
class Record:
    """A completed run, or with `act` a manual action on the state.

    `subjects`: digests of build, model, configuration and policy. `machine`: digest of the processor's description, as
    costs of different machines are not comparable. `heal`: the state afterwards. `by`: of an act: who, why, and
    the accepted run. `files`: SHA-256 of the run's SHA256SUMS. `bounds`: the limits of the policy afterwards.
    `damage`: what was wrong with the history before this record. `prev_hash`: of the line before it.
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
    by: dict[str, Any] = field(default_factory=dict)
    files: str = ""
    bounds: str | None = None
    damage: list[str] = field(default_factory=list)
    prev_hash: str = ""

    @property
    def outcome(self) -> Outcome:
        """Fail if any stage failed, else inconclusive if any was inconclusive, else pass; of the stages that count."""
        outcomes = {result.verdict.outcome for result in self.stages.values() if result.counts}
        return next((outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) if outcome in outcomes), Outcome.PASS)

    def values(self, stage: str) -> dict[str, Any]:
        """The values of a stage; empty if it did not run."""
        return self.stages[stage].values if stage in self.stages else {}

    def passed(self, stage: str) -> bool:
        """Whether the stage ran and passed."""
        return stage in self.stages and self.stages[stage].verdict.outcome is Outcome.PASS

    def failed(self, stage: str) -> bool:
        """Whether the stage ran and failed."""
        return stage in self.stages and self.stages[stage].verdict.outcome is Outcome.FAIL

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        stages = {name: result.as_dict() for name, result in self.stages.items()}
        return {"schema": SCHEMA, **{f.name: getattr(self, f.name) for f in fields(self)}, "stages": stages}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Record:
        """From as_dict()."""
        _check_schema(found)
        stages = {name: StageResult.from_dict(result) for name, result in _of_type(found, "stages", dict).items()}
        known = {f.name: _of_type(found, f.name, _TYPES[f.name]) for f in fields(cls) if f.name in found}
        return cls(**known | {"stages": stages})


_TYPES: dict[str, Any] = {
    "run": str,
    "time": int | float,
    "target": str,
    "profile": str,
    "machine": str,
    "subjects": dict,
    "stages": dict,
    "heal": dict,
    "act": str,
    "by": dict,
    "files": str,
    "bounds": str | None,
    "damage": list,
    "prev_hash": str,
}


def _of_type(found: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = found[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise FormatError(name, f"is {str(value)[:60]!r}, which is of another type")
    return value


def _check_schema(found: Mapping[str, Any]) -> None:
    if not isinstance(found, Mapping) or found.get("schema") != SCHEMA:
        raise FormatError("schema", f"is not {SCHEMA}: another version of flyball wrote it")


@dataclass(frozen=True)
class Limits:
    """The limits. A TOML file replaces single ones; each stage reports those in force and their source."""

    model_select_ms: float = 2000
    model_prepare_ms: float = 12000
    first_token_ms: float = 2000
    least_slow_down: float = 1.085  # ratio below which a series has no slow-down
    visible_slow_down: float = 1.10  # ratio that a run must be able to show, else it is inconclusive
    startup_slow_down: float = 1.25  # the same for loading, which other load disturbs more
    harmful_share: float = 0.40  # among judged changes
    harmful_streak: int = 4
    adapt_quality: bool = True  # adapt the limits to model class and memory
    quality_window: int = 40  # newest applied changes that count
    stable_streak: int = 5  # stable runs before a trial
    canary_good: float = 0.05  # acceptable share of harm in a trial
    canary_bad: float = 0.40  # share of harm that a trial must detect
    canary_threshold: int = 75  # confidence required of changes in a trial
    curriculum: bool = True
    drift_level: float = 0.0001  # of all tests of a run together; low, as there are many runs
    drift_events: int = 100
    warn_percent: float = 15
    fail_percent: float = 30
    bench_slow_down: float = 1.03
    bench_counters: float = 1.01
    stages: dict[str, str] = field(default_factory=dict)  # modes of stages that do not have the mode "fail"
    sources: dict[str, str] = field(default_factory=dict)  # files of limits that are not defaults

    @classmethod
    def read(cls, path: Path | None) -> Limits:
        """Read a file of `name = value`; missing limits get their defaults."""
        if path is None:
            return cls()
        try:
            found = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FormatError(str(path), f"cannot be read: {error}") from None
        stages = found.pop("stages", {})
        defaults = {key: value for key, value in asdict(cls()).items() if key not in ("sources", "stages")}
        for key, value in found.items():
            if key not in defaults:
                raise FormatError(str(path), f"has {key}, must be one of: {', '.join(defaults)}")
            if problem := _problem(key, value, defaults[key]):
                raise FormatError(str(path), f"{key} is {value!r}, must be {problem}")
        limits = replace(cls(), **found, sources={key: str(path) for key in found})
        for lower, upper in (("canary_good", "canary_bad"), ("warn_percent", "fail_percent")):
            low, high = getattr(limits, lower), getattr(limits, upper)
            if not low < high:
                raise FormatError(str(path), f"{lower} is {low:g} and {upper} {high:g}, the first must be smaller")
        if not isinstance(stages, dict):
            raise FormatError(str(path), f"stages is {stages!r}, must be a table: [stages]")
        return limits.with_modes(stages, str(path))

    def with_modes(self, modes: Mapping[str, Any], source: str) -> Limits:
        """The limits with these modes of stages."""
        for stage, mode in modes.items():
            if mode not in MODES:
                raise FormatError(source, f"stages.{stage} is {mode!r}, must be one of: {', '.join(MODES)}")
        named = {f"stages.{stage}": source for stage in modes}
        return replace(self, stages=self.stages | dict(modes), sources=self.sources | named)

    def mode(self, stage: str) -> str:
        """The mode of a stage."""
        return self.stages.get(stage, "fail")

    def effective_mode(self, stage: str) -> dict[str, Any]:
        """The mode of a stage with its source, as effective() has limits."""
        name = f"stages.{stage}"
        return {"name": name, "value": self.mode(stage), "source": self.sources.get(name, "default")}

    def effective(self, *names: str) -> list[dict[str, Any]]:
        """Limits with their sources, for the results."""
        return [{"name": n, "value": getattr(self, n), "source": self.sources.get(n, "default")} for n in names]


# Limits that are shares of a whole or levels, where both ends would decide everything in advance.
_SHARES = ("harmful_share", "canary_good", "canary_bad", "drift_level")
_MOST = 1e9


def _problem(key: str, value: object, default: object) -> str:
    """What a limit must be, if it is not."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if isinstance(default, int):
        most = 100 if key == "canary_threshold" else int(_MOST)
        return "" if isinstance(number, int) and 1 <= number <= most else f"a whole number from 1 to {most}"
    if key in _SHARES:
        return "" if 0 < number < 1 else "between 0 and 1, and neither"
    if key.endswith("slow_down") or key == "bench_counters":
        return "" if 1 <= number <= _MOST else f"a ratio from 1 to {_MOST:.0f}"
    return "" if 0 < number <= _MOST else f"a number above 0, at most {_MOST:.0f}"
