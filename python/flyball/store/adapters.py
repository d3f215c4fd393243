"""Adapters: which there are, which one answers, and how each became what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .schema import adapter_events, adapters, projects
from .scope import Scope, found, record

_BEFORE: dict[str, tuple[str, ...]] = {  # from which states an adapter may come into one
    "trained": (),
    "candidate": ("trained", "candidate", "retired", "rejected", "rolled_back"),
    "canary": ("trained", "candidate", "retired", "rejected", "rolled_back"),
    "active": ("trained", "candidate", "canary", "retired", "rejected", "rolled_back"),
    "retired": ("trained", "candidate", "canary", "active", "rejected", "rolled_back"),
    "rejected": ("trained", "candidate", "retired", "rejected", "rolled_back"),
    "rolled_back": ("canary", "active"),
}
ADAPTER_STATES = tuple(_BEFORE)
_MOST_JSON = 4 << 20
_MOST_PATH = 4096


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter of a project. `fingerprint`: of its model; `share`: percent of the requests that a canary gets."""

    digest: str
    name: str
    fingerprint: str
    parent: str | None
    state: str
    share: int | None
    manifest: str
    path: str
    created: int
    changed: int


@dataclass(frozen=True)
class AdapterEvent:
    """What happened to an adapter: the state that it came into, or "gate". `evidence`: JSON."""

    sequence: int
    digest: str
    event: str
    reason_id: str
    evidence: str
    who: str
    created: int

    @property
    def data(self) -> dict[str, Any]:
        """The evidence."""
        return dict(json.loads(self.evidence))


class Adapters:
    """The adapters of a project. For each model at most one is active, and at most one a canary.

    Every change is one transaction with its event; those of one project come one after another.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, new: StoredAdapter, reason_id: str, evidence: Mapping[str, Any], who: str) -> StoredAdapter:
        """Store a new one, in the state trained. Raises InvalidArgument if its digest or name is taken."""
        now = self._scope.clock()
        row = vars(new) | {
            "digest": checks.text("digest", new.digest),
            "name": checks.text("name", new.name),
            "fingerprint": checks.text("fingerprint", new.fingerprint),
            "parent": checks.optional("parent", new.parent),
            "manifest": checks.text("manifest", new.manifest, _MOST_JSON),
            "path": checks.text("path", new.path, _MOST_PATH),
            "state": "trained",
            "share": None,
            "created": now,
            "changed": now,
        }
        with self._scope.database.writing() as connection:
            self._lock(connection)
            taken = adapters.c.digest == new.digest, adapters.c.name == new.name
            for known in connection.execute(self._scope.select(adapters, sa.or_(*taken))).mappings():
                what = "digest" if known["digest"] == new.digest else "name"
                raise InvalidArgument(what, f"{known[what]} is an adapter's already: names are never given again")
            self._scope.insert(connection, adapters, [row])
            self._tell(connection, new.digest, "trained", reason_id, evidence, who)
        return StoredAdapter(**row)

    def get(self, name: str) -> StoredAdapter | None:
        """The adapter of this digest or name."""
        named = sa.or_(adapters.c.digest == name, adapters.c.name == name)
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(adapters, named)).mappings().all()
        rows = sorted(rows, key=lambda row: row["digest"] != name)  # a name may look like another's digest
        return record(StoredAdapter, rows[0]) if rows else None

    def all(self) -> list[StoredAdapter]:
        """All of them, the oldest first."""
        statement = self._scope.select(adapters).order_by(adapters.c.created, adapters.c.digest)
        with self._scope.database.reading() as connection:
            return [record(StoredAdapter, row) for row in connection.execute(statement).mappings()]

    def in_use(self) -> list[StoredAdapter]:
        """The active ones and the canaries."""
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(adapters, adapters.c.state.in_(("active", "canary"))))
            return [record(StoredAdapter, row) for row in rows.mappings()]

    def move(
        self,
        digest: str,
        state: str,
        reason_id: str,
        evidence: Mapping[str, Any],
        who: str,
        share: int | None = None,
    ) -> StoredAdapter:
        """Bring an adapter into a state. One that becomes active takes the place of the model's active one, which is
        retired by it; one that is rolled back gives its place back to the one before.

        Raises NotFound, or InvalidArgument for a change that does not follow, or a second canary of a model.
        """
        checks.one_of("state", state, ADAPTER_STATES)
        with self._scope.database.writing() as connection:
            self._lock(connection)
            known = found(self._one(connection, digest), "adapter", digest)
            if known.state not in _BEFORE[state]:
                raise InvalidArgument(digest, f"is {known.state}: from there it cannot become {state}")
            evidence = dict(evidence)
            if state == "active":
                before = self._in_state(connection, known.fingerprint, "active")
                evidence["replaces"] = before and before.digest
                if before is not None:
                    self._set(connection, before, "retired", reason_id, {"by": digest}, who)
            if state == "canary" and (other := self._in_state(connection, known.fingerprint, "canary")) is not None:
                raise InvalidArgument(other.name, "is this model's canary already: promote it, or roll it back first")
            moved = self._set(connection, known, state, reason_id, evidence, who, share)
            if state == "rolled_back" and known.state == "active":
                self._restore(connection, digest, reason_id, who)
        return moved

    def note(self, digest: str, event: str, reason_id: str, evidence: Mapping[str, Any], who: str) -> None:
        """Store an event that changes no state. Raises NotFound."""
        with self._scope.database.writing() as connection:
            self._lock(connection)
            found(self._one(connection, digest), "adapter", digest)
            self._tell(connection, digest, event, reason_id, evidence, who)

    def events(self, digest: str | None = None) -> Iterator[AdapterEvent]:
        """What happened, in its order: to one adapter, or to all; read while it is used."""
        where = () if digest is None else (adapter_events.c.digest == digest,)
        return (record(AdapterEvent, row) for row in self._scope.pages(adapter_events, *where, key=("sequence",)))

    def event_counts(self) -> dict[tuple[str, str], int]:
        """How many events there were, by event and reason."""
        counted = self._scope.count(adapter_events, adapter_events.c.event, adapter_events.c.reason_id)
        with self._scope.database.reading() as connection:
            return {(event, reason): n for event, reason, n in connection.execute(counted)}

    def _restore(self, connection: sa.Connection, digest: str, reason_id: str, who: str) -> None:
        """The one that this one had replaced is active again."""
        before = self._replaced(connection, digest)
        known = None if before is None else self._one(connection, before)
        if known is not None and known.state == "retired":
            evidence = {"replaces": self._replaced(connection, known.digest), "restored": True, "after": digest}
            self._set(connection, known, "active", reason_id, evidence, who)

    def _replaced(self, connection: sa.Connection, digest: str) -> str | None:
        """Which adapter this one replaced when it last became active."""
        became = (adapter_events.c.digest == digest, adapter_events.c.event == "active")
        newest = self._scope.select(adapter_events, *became).order_by(adapter_events.c.sequence.desc()).limit(1)
        row = connection.execute(newest).mappings().one_or_none()
        return None if row is None else json.loads(row["evidence"])["replaces"]

    def _set(
        self,
        connection: sa.Connection,
        known: StoredAdapter,
        state: str,
        reason_id: str,
        evidence: Mapping[str, Any],
        who: str,
        share: int | None = None,
    ) -> StoredAdapter:
        values = {"state": state, "share": share, "changed": self._scope.clock()}
        connection.execute(self._scope.update(adapters, adapters.c.digest == known.digest).values(**values))
        self._tell(connection, known.digest, state, reason_id, dict(evidence) | {"from": known.state}, who)
        return StoredAdapter(**vars(known) | values)

    def _tell(
        self,
        connection: sa.Connection,
        digest: str,
        event: str,
        reason_id: str,
        evidence: Mapping[str, Any],
        who: str,
    ) -> None:
        newest = sa.select(sa.func.max(adapter_events.c.sequence)).where(
            adapter_events.c.project_id == self._scope.project_id
        )
        row = {
            "sequence": (connection.execute(newest).scalar() or 0) + 1,
            "digest": digest,
            "event": checks.text("event", event),
            "reason_id": checks.text("reason_id", reason_id),
            "evidence": checks.text("evidence", json.dumps(evidence, sort_keys=True), _MOST_JSON),
            "who": checks.text("who", who),
            "created": self._scope.clock(),
        }
        self._scope.insert(connection, adapter_events, [row])

    def _lock(self, connection: sa.Connection) -> None:
        """Until the end of the transaction, where readers do not keep writers out by themselves: PostgreSQL."""
        own = sa.select(projects.c.project_id).where(projects.c.project_id == self._scope.project_id)
        connection.execute(own.with_for_update(key_share=True))

    def _one(self, connection: sa.Connection, digest: str) -> StoredAdapter | None:
        return self._scope.one(connection, adapters, adapters.c.digest == digest, kind=StoredAdapter)

    def _in_state(self, connection: sa.Connection, fingerprint: str, state: str) -> StoredAdapter | None:
        of_model = adapters.c.fingerprint == fingerprint, adapters.c.state == state
        return self._scope.one(connection, adapters, *of_model, kind=StoredAdapter)
