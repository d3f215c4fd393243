"""Manual acts; each is recorded in the history and in the journal, with who and why."""

from __future__ import annotations

import getpass
import itertools
import math
import statistics
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, NotFound
from . import integrity, latch
from .latch import Place
from .lock import InUse
from .results import Limits, Record
from .stages.self_heal import State

if TYPE_CHECKING:
    from .runner import Options

_COSTS_OF = {"metrics": ("prefill", "decode"), "startup": ("load",)}  # stages that judge costs


def user() -> str:
    """The name of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # containers run as users that no file knows
        return "unknown"


def reset(place: Place, *, latch_it: bool | None = None, active: bool = False, who: str = "") -> tuple[State, bool]:
    """Latch the quarantine (`latch_it` True), unlatch it (False), or end it (`active`).

    Returns the new state, and whether it is recorded: a latch is in force at once, and recorded by a run that goes on.
    """
    who = who or user()
    if latch_it and not active:
        held = State.of(latch.fire(place, who))
        try:
            with place.store.locked():
                latch.record_waiting(place)
        except InUse:
            return held, False
        return held, True
    with place.store.locked():
        latch.record_waiting(place)
        known = place.store.read()
        before, run = State.of(known.state), place.store.new_name("act")
        if active:
            heal = asdict(State(counted_from=run))
            message = "the quarantine was ended manually"
        elif before.latched:
            heal = {**known.state, **asdict(replace(before, latched=False, stable=0))}
            message = "the quarantine was unlatched manually"
        else:
            raise InvalidArgument("reset", f"nothing is latched: the state is {before.mode}")
        record = Record(run=run, time=time.time(), act="reset", heal=heal, by={"who": who})
        latch.record_act(place, record, "HEAL_RESET", message)
    return State.of(heal), True


def set_baseline(options: Options, n_runs: int) -> Record:
    """Make the newest runs the baseline of later costs."""
    from . import series
    from .runner import comparable, machine_digest, subjects_of

    with options.store.locked():
        latch.record_waiting(options)
        known = options.store.read()
        if not known.records:
            raise NotFound(str(options.store.history_path), "has no runs; flyball reliability run makes one")
        subjects, machine = subjects_of(options), machine_digest()
        runs = comparable(known.records, options.target, machine, subjects["model"])
        chosen = series.choose_baseline(runs, n_runs, options.limits)
        record = Record(
            run=options.store.new_name("act"),
            time=time.time(),
            target=options.target,
            machine=machine,
            subjects=subjects,
            act="baseline",
            heal={**known.state, "baseline": chosen},
            by={"who": user()},
        )
        message = f"the newest {n_runs} runs are the baseline of costs now"
        latch.record_act(options, record, "HEAL_RESET", message)
    return record


def accept(place: Place, why: str, *, run: str | None = None, who: str = "", damage: bool = False) -> Record:
    """Accept a run (default: the last one): later runs are compared with its answers, counters and slower costs.

    `damage`: accept what is wrong with the folder instead. Raises InvalidArgument without a reason why.
    """
    if not why.strip():
        raise InvalidArgument("--why", "is empty; it tells later readers what was intended")
    by: dict[str, Any] = {"who": who or user(), "why": why}
    with place.store.locked():
        known = place.store.read()
        if damage:
            found, _ = integrity.check(place.store, known)
            if not found:
                raise InvalidArgument("--damage", "there is none")
            record = Record(run="", time=0.0, by={**by, "damage": [str(each) for each in found]})
            message = f"{len(found)} damaged places"
        else:
            chosen = _run(known.records, run)
            baseline = _costs(known.records, chosen, place.limits)
            by["run"] = message = chosen.run
            record = replace(
                chosen, stages={}, files="", damage=[], by=by, heal={"baseline": baseline} if baseline else {}
            )
        latch.record_waiting(place)
        record = replace(
            record,
            run=place.store.new_name("act"),
            time=time.time(),
            act="accept",
            heal={**place.store.read().state, **record.heal},
        )
        latch.record_act(place, record, "RUN_ACCEPTED", f"{message} is accepted: {why}")
    return record


def _run(records: list[Record], name: str | None) -> Record:
    runs = [record for record in records if record.stages]
    found = next((record for record in reversed(runs) if name in (None, record.run)), None)
    if found is None:
        raise NotFound(name or "the history", "is not a run; flyball reliability history lists them")
    return found


def _costs(records: list[Record], chosen: Record, limits: Limits) -> dict[str, Any]:
    """The baseline after accepting a run that was slower; the spread is that of the baseline before."""
    from . import series

    slower = {name for stage, names in _COSTS_OF.items() if chosen.failed(stage) for name in names}
    if not slower or not all(series.cost(chosen.values("scenario"), name) for name in series.COSTS):
        return {}
    of = (chosen.target, chosen.machine, chosen.subjects.get("model"))
    same = [r for r in records if (r.target, r.machine, r.subjects.get("model")) == of]
    same = same[: 1 + next(n for n, record in enumerate(same) if record.run == chosen.run)]
    measurement = chosen.values("scenario").get("measurement")
    baseline = {}
    for name in series.COSTS:
        known = series.baseline_of(same, name, limits, measurement).baseline
        values = [one.value for one in series.costs(same, name, measurement)]
        if known is None:  # it is still being learned
            return {}
        found = _level(values, asdict(known)) if name in slower else asdict(known)
        baseline[name] = {**found, "measurement": measurement}
    return baseline


def _level(values: list[float], before: dict[str, Any]) -> dict[str, Any]:
    """The baseline of the last cost and of those directly before it that are nearer to it than to the old baseline."""
    logs = [math.log(value) for value in values]
    half = (logs[-1] + before["center"]) / 2
    level = list(itertools.takewhile(lambda x: (x > half) == (logs[-1] > half), reversed(logs)))
    # The level itself is uncertain by the spread of its few runs.
    spread = before["spread"] * math.sqrt(1 + 1 / len(level))
    return {"center": statistics.median(level), "spread": spread, "n": len(level)}
