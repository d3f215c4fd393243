"""The input of a stage, and the profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
    """A run in progress. `history`: earlier runs of this target, machine and model, and acts, oldest first.

    `of_model`: earlier runs of this model on any machine and target, and acts. `order`: each name's position in the
    whole history. `heal`: the state before this run. `damage`: what is wrong with the folder, `notes`: what is no
    damage. `results`: of the stages before this one. `folder`: for the stage's files.
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
    journals: tuple[Path, ...] = ()  # of real use
    limits: Limits = field(default_factory=Limits)
    subjects: dict[str, str] = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)
    of_model: list[Record] = field(default_factory=list)
    order: Mapping[str, int] = field(default_factory=dict)
    heal: Mapping[str, Any] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: dict[str, StageResult] = field(default_factory=dict)
    scenario: Callable[[Context], StageResult] | None = None  # for measure_again(); None: the stage
    again: dict[str, Any] | None = None

    def since(self, run: str) -> list[Record]:
        """The part of the history after the run or act of this name, by position; all of it if there is none."""
        order = self.order or {record.run: n for n, record in enumerate(self.history)}
        begin = order.get(run, -1)
        return [record for record in self.history if order.get(record.run, begin) > begin]

    def elsewhere(self) -> int:
        """How many earlier runs of this model and target are of other machines."""
        return sum(
            bool(record.stages) and record.machine != self.machine and record.target == self.target
            for record in self.of_model
        )

    def values(self, stage: str) -> dict[str, Any]:
        """The values of a stage of this run; empty if it did not run."""
        return self.results[stage].values if stage in self.results else {}

    def measure_again(self) -> dict[str, Any]:
        """The values of one more scenario, with fresh measurements; of all stages, the first that asks runs it."""
        if self.again is None:
            from .stages import scenario

            folder = self.folder / "again"
            self.again = (self.scenario or scenario.run)(replace(self, folder=folder, results={})).values
        return self.again
