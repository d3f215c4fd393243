"""Replay: a journal's observations must reproduce its decisions, byte for byte.

A governor's decisions depend only on its settings, its state and the observations, all of which are in the journal.
With other settings (`changes`) the same observations show the decisions that would have differed. They remain those of
the recorded answers: a what-if cannot know what an answer would have cost after another decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .. import _core
from ..errors import Error, FormatError
from .events import Event


class Decided(NamedTuple):
    """One decision: its reason and its data as written to the journal."""

    reason_id: str
    raw: str


@dataclass(frozen=True)
class Difference:
    """At `event` the journal has the decision `recorded` and the replay `decided`; None: no decision."""

    event: Event
    recorded: Decided | None
    decided: Decided | None


@dataclass(frozen=True)
class Report:
    """The result of a replay. `skipped`: events of sessions whose beginning is no longer in the journal."""

    n_events: int
    n_decisions: int
    n_sessions: int
    skipped: int
    differences: tuple[Difference, ...]

    @property
    def verified(self) -> bool:
        """Whether the replay reproduced every decision."""
        return not self.differences


def replay(events: Iterable[Event], changes: Mapping[str, object] | None = None) -> Report:
    """Replay a journal's `events`, with `changes` to the settings of its sessions (configuration keys)."""
    return _Replay(changes or {}).run(events)


def receipts(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """The receipts in a journal with content, as JSON text, each with its last event."""
    parts: dict[tuple[int, int], list[str]] = {}
    for event in events:
        if event.reason_id != "SESSION_RECEIPT":
            continue
        texts = parts.setdefault((event.session, event.turn), [])
        if event.data["part"] != len(texts):
            raise FormatError(f"event {event.number}", "is not the next part of a receipt")
        texts.append(event.data["text"])
        if event.data["last"]:
            yield event, "".join(parts.pop((event.session, event.turn)))


class _Session:
    """One session of the journal, and its replayed decisions that the journal has not yet matched."""

    def __init__(self, changes: Mapping[str, object]) -> None:
        self.core = _core.ReplayCore([(str(key), str(value)) for key, value in changes.items()])
        self.owed: list[tuple[Event, Decided]] = []


class _Replay:
    def __init__(self, changes: Mapping[str, object]) -> None:
        _Session(changes)  # raises invalid changes before reading a long journal
        self._changes = changes
        self._sessions: dict[int, _Session] = {}
        self._differences: list[Difference] = []
        self._n_sessions = self._skipped = 0

    def run(self, events: Iterable[Event]) -> Report:
        n_events = n_decisions = 0
        for event in events:
            n_events += 1
            n_decisions += event.is_decision
            if event.reason_id in ("SESSION_OPENED", "SESSION_POLICY_OPENED"):
                self._settle(event.session)
                self._sessions[event.session] = _Session(self._changes)
                self._n_sessions += 1
            session = self._sessions.get(event.session)
            if session is not None:
                self._next(session, event)
            elif event.session:
                self._skipped += 1
        for number in list(self._sessions):
            self._settle(number)
        self._differences.sort(key=lambda difference: difference.event.number)
        return Report(n_events, n_decisions, self._n_sessions, self._skipped, tuple(self._differences))

    def _next(self, session: _Session, event: Event) -> None:
        if event.is_decision:
            recorded = Decided(event.reason_id, event.raw)
            _, decided = session.owed.pop(0) if session.owed else (event, None)
            if decided != recorded:
                self._differences.append(Difference(event, recorded, decided))
            return
        self._pay(session)
        try:
            decided_now = session.core.observe(event.reason_id, event.turn, event.raw)
        except Error as error:
            raise FormatError(f"event {event.number}: {error.where}", error.what) from None
        session.owed += [(event, Decided(*decided)) for decided in decided_now]

    def _pay(self, session: _Session) -> None:
        """Report the replayed decisions that the journal does not have."""
        self._differences += [Difference(event, None, decided) for event, decided in session.owed]
        session.owed.clear()

    def _settle(self, number: int) -> None:
        if session := self._sessions.pop(number, None):
            self._pay(session)
