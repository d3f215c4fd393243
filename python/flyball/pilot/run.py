"""A run: turns from a state on, and the record of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..bench.pack import Build
from ..bench.speed import machine
from ..engine.receipt import Receipt
from ..errors import InvalidArgument
from . import scene, stub
from .models import AgentModel, Clock
from .play import Game, Rules
from .record import Profile, Record, receipt_file
from .scene import SCENE, State


@dataclass(frozen=True)
class Plan:
    """What to play. `folder`: of the records, the states and the receipts."""

    folder: Path
    tag: str
    turns: int
    seed: int = 0
    random_choice: bool = False

    def snapshot(self, mode: str) -> Path:
        """The file of the state after the last turn; a stub's is never a live game's."""
        return self.folder / "state" / f"{self.tag}.{mode}.json"


def live(
    plan: Plan,
    models: Mapping[str, AgentModel],
    profile: Profile,
    reset: bool,
    clock: Clock = time.perf_counter,
    now: Clock = time.time,
) -> Record:
    """Ask live models, from the tag's last turn on; `reset`: from the beginning. The receipts are kept."""
    state = scene.START if reset else scene.load(plan.snapshot("live"))

    def keep(receipt: Receipt) -> None:
        receipt.save(plan.folder / receipt_file(receipt.digest))

    return _played(plan, models, profile, "live", state, keep, "", clock, now)


def replay(
    plan: Plan,
    path: Path,
    times: stub.Times,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
    now: Clock = time.time,
) -> Record:
    """Replay the live record at `path` from its own beginning, with its profile. Raises what does not fit it."""
    record, sha256 = stub.read(path)
    if (plan.seed, plan.random_choice) != (record.seed, record.random_choice):
        chosen = " --random-choice" * record.random_choice
        raise InvalidArgument(str(path), f"was recorded with --seed {record.seed}{chosen or ' alone'}; give the same")
    if plan.turns > len(record.turns):
        raise InvalidArgument("--turns", f"is {plan.turns}, but {path} has only {len(record.turns)} turns")
    models = stub.stubs(record, times, clock, sleep)
    return _played(plan, models, record.profile, "stub", record.start, lambda _: None, sha256, clock, now)


def _played(
    plan: Plan,
    models: Mapping[str, AgentModel],
    profile: Profile,
    mode: str,
    state: State,
    keep: Callable[[Receipt], object],
    replayed: str,
    clock: Clock,
    now: Clock,
) -> Record:
    rules = Rules(plan.seed, plan.random_choice, plan.snapshot(mode))
    game = Game(models, profile.variants, rules, state, keep, clock)
    here = machine()
    return Record(
        version=__version__,
        build=Build.here().extension,
        machine=f"{here['processor']}, {here['n_processors']} processors",
        time=now(),
        tag=plan.tag,
        mode=mode,
        scene=SCENE,
        seed=plan.seed,
        random_choice=plan.random_choice,
        start=state,
        profile=profile,
        models={name: model.about for name, model in models.items()},
        replayed=replayed,
        turns=tuple(game.turns(plan.turns)),
    )
