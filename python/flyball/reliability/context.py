"""What a stage is given, and what profiles ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .results import Limits, Record, StageResult


@dataclass(frozen=True)
class Profile:
    """How much is measured."""

    name: str
    pairs: int  # of a measured turn and the reference workload
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
    """One run while it goes on. `history`: earlier runs of this target, machine and model, oldest first.

    `heal`: the state before this run. `results`: of the stages before this one. `folder`: gets what the stage leaves.
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
        """What a stage of this run left; empty where it did not run."""
        return self.results[stage].values if stage in self.results else {}
