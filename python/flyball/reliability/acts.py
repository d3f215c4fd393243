"""Manual actions on the state; each is recorded in the history and in the journal."""

from __future__ import annotations

import time
from dataclasses import asdict, replace

from ..errors import InvalidArgument, NotFound
from ..journal.journal import Journal
from . import series
from .results import Record
from .runner import Options, comparable, machine_digest, subjects_of, write_limits
from .stages.self_heal import State


def reset(options: Options, *, latch: bool | None = None, active: bool = False) -> State:
    """Latch the quarantine (`latch` True), unlatch it (False), or end it (`active`); returns the new state."""
    with options.store.locked():
        history = options.store.history()
        state = State.of(history[-1].heal if history else {})
        run = _name(history)
        if active:
            state = State(counted_from=run)
            message = "the quarantine was ended manually"
        elif latch:
            state = replace(state, mode="quarantined", latched=True, stable=0, needed=int(options.limits.stable_streak))
            message = "the quarantine was latched manually"
        elif state.latched:
            state = replace(state, latched=False, stable=0)
            message = "the quarantine was unlatched manually"
        else:
            raise InvalidArgument("reset", f"nothing is latched: the state is {state.mode}")
        _append(options, Record(run=run, time=time.time(), act="reset", heal=asdict(state)), message)
        write_limits(options.store.root, options.policy_file, state, 0, int(options.limits.canary_threshold))
    return state


def set_baseline(options: Options, n_runs: int) -> Record:
    """Make the newest runs the baseline of later costs."""
    with options.store.locked():
        history = options.store.history()
        if not history:
            raise NotFound(str(options.store.history_path), "has no runs; flyball reliability run makes one")
        subjects, machine = subjects_of(options), machine_digest()
        runs = comparable(history, options.target, machine, subjects["model"])
        chosen = series.choose_baseline(runs, n_runs)
        record = Record(
            run=_name(history),
            time=time.time(),
            target=options.target,
            machine=machine,
            subjects=subjects,
            act="baseline",
            heal={**history[-1].heal, "baseline": chosen},
        )
        _append(options, record, f"the newest {n_runs} runs are the baseline of costs now")
    return record


def _name(history: list[Record]) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    known = {record.run for record in history}
    return next(name for n in range(1000) if (name := f"{stamp}-act{n:03}") not in known)


def _append(options: Options, record: Record, message: str) -> None:
    with Journal(options.store.journal_path, log=options.store.root / "journal.log") as journal:
        journal.tell("HEAL_RESET", {"run": record.run, "stage": record.act, "outcome": "pass", "message": message})
    options.store.append(record)
