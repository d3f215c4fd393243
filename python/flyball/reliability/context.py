"""The input of a stage, and the profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .results import Limits, Record, StageResult


@dataclass(frozen=True)
class Profile:
    """The amount of measurement."""

    name: str
    pairs: int  # measurements, each in turn with the reference workload
    release: bool = False


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", pairs=48),
        Profile("ci", pairs=96),
        Profile("nightly", pairs=300),
        Profile("release", pairs=300, release=True),
    )
}


@dataclass
class Context:
    """A run in progress. `history`: earlier runs of this target, machine and model, oldest first.

    `heal`: the state before this run. `results`: of the stages before this one. `folder`: for the stage's files.
    """

    run: str
    folder: Path
    root: Path
    profile: Profile
    target: str = "host"
    machine: str = ""
    model: Path | None = None
    config: Path | None = None
    policy_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    subjects: dict[str, str] = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)
    heal: Mapping[str, Any] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)

    def values(self, stage: str) -> dict[str, Any]:
        """The values of a stage of this run; empty if it did not run."""
        return self.results[stage].values if stage in self.results else {}
