"""The latch and the policy's limits: a kill switch that waits for no run.

A latch is in force from the moment in which latch.json exists: it bounds the policy at once, and whoever holds the
folder's lock next records it. Limits are written under a lock of their own that is held for milliseconds, so that no
run can write milder ones over it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from .. import files
from ..errors import FileError
from .events import tell
from .history import History
from .lock import briefly
from .results import Limits, Record
from .stages.self_heal import State, limits_text
from .store import Store, read_json, write_json


class Place(Protocol):
    """A folder with its limits and the policy that it bounds, as runner.Options has them."""

    @property
    def store(self) -> Store:
        """The folder."""

    @property
    def limits(self) -> Limits:
        """Of the stages."""

    @property
    def policy_file(self) -> Path | None:
        """The file of the policy to bound besides that of the scenario."""


def state(place: Place) -> dict[str, Any]:
    """The state of the quarantine: the history's, or latched if a latch waits to be recorded."""
    found = place.store.read().state
    return _latched(place, found) if place.store.latch_path.exists() else found


def fire(place: Place, who: str) -> dict[str, Any]:
    """Latch at once, also while a run goes on or the history cannot be read; returns the state."""
    store = place.store
    with _limits_lock(store):
        try:
            known, name = store.read(), store.new_name("act")
        except FileError:
            known, name = History([], [], {}, 0), ""
        latched = _latched(place, known.state)
        _put([*_targets(place), *_policies(known.records)], _text(place, latched, 0))
        if not store.latch_path.exists():
            write_json(store.latch_path, {"run": name, "time": time.time(), "who": who})
    return latched


def record_waiting(place: Place) -> None:
    """Record a latch that was fired while the folder was locked; the caller has the lock."""
    store = place.store
    if not store.latch_path.exists():
        return
    found = read_json(store.latch_path) or {}
    latched = _latched(place, store.read().state)
    at = found.get("time")
    record = Record(
        run=str(found.get("run") or store.new_name("act")),
        time=at if isinstance(at, int | float) else time.time(),
        act="reset",
        heal=latched,
        by={"who": str(found.get("who", ""))},
    )
    record_act(place, record, "HEAL_RESET", "the quarantine was latched manually")
    with _limits_lock(store):
        store.latch_path.unlink(missing_ok=True)


def record_act(place: Place, record: Record, reason_id: str, message: str) -> None:
    """Write the limits of a reset, the journal and the history, in this order; the caller has the lock."""
    if record.act == "reset":
        heal, bounds = settle(place, record.heal, 0)
        record = replace(record, heal=heal, bounds=bounds)
    else:
        record = replace(record, bounds=next((r.bounds for r in reversed(place.store.history())), None))
    who = record.by.get("who")
    message = f"{message}, by {who}" if who else message
    data = {"run": record.run, "stage": record.act, "outcome": "pass", "message": message[:1000]}
    tell(place.store, [(reason_id, data)])
    place.store.append(record)


def settle(
    place: Place, heal: Mapping[str, Any], threshold: int, folder: Path | None = None
) -> tuple[dict[str, Any], str]:
    """Write the limits of a state, or the latch's if one was fired meanwhile; returns state and limits.

    `folder`: of the run, which gets them first, so that a run that is killed before its record explains them.
    """
    with _limits_lock(place.store):
        after = _latched(place, heal) if place.store.latch_path.exists() else dict(heal)
        text = _text(place, after, threshold)
        if folder is not None:
            files.write(folder / place.store.limits_path.name, text)
        _put(_targets(place), text)
        return after, text


def restore(place: Place, bounds: str) -> None:
    """Write the limits again that the last record has."""
    with _limits_lock(place.store):
        if not place.store.latch_path.exists():
            _put([place.store.limits_path], bounds)


def _limits_lock(store: Store) -> Any:
    return briefly(store.root / "limits.lock")


def _latched(place: Place, heal: Mapping[str, Any]) -> dict[str, Any]:
    """The state with the latch; an existing quarantine keeps what it is about."""
    held = replace(State.of(heal), mode="quarantined", latched=True, stable=0, needed=int(place.limits.stable_streak))
    return {**heal, **asdict(held)}


def _text(place: Place, heal: Mapping[str, Any], threshold: int) -> str:
    return limits_text(State.of(heal), threshold, int(place.limits.canary_threshold))


def _targets(place: Place) -> list[Path]:
    policy = place.policy_file
    return [place.store.limits_path, *([policy.with_name(policy.name + ".limits")] if policy else [])]


def _policies(records: Iterable[Record]) -> list[Path]:
    """The limits of every policy that a run was given, as far as its folder is still there."""
    named = dict.fromkeys(str(record.subjects.get("policy_file", "")) for record in records)
    found = [Path(name) for name in named if name]
    return [policy.with_name(policy.name + ".limits") for policy in found if policy.parent.is_dir()]


def _put(targets: Iterable[Path], text: str) -> None:
    """Write the limits files; remove them if nothing is bounded."""
    for target in targets:
        if text:
            files.write(target, text)
            continue
        try:
            target.unlink(missing_ok=True)
        except OSError as error:
            raise FileError(str(target), f"cannot be removed: {error.strerror or error}") from None
