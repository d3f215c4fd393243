"""Batches: many requests of one file, answered when there is time. States and their order are OpenAI's."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .schema import BATCH_STATES, batch_items, batches
from .scope import Scope, found

MOST_ITEMS = 50_000
MOST_ITEM_BYTES = 8 << 20
_MOST_METADATA = 16
_ROWS_AT_ONCE = 500
_BYTES_AT_ONCE = 4 << 20

NEXT: Mapping[str, tuple[str, ...]] = {
    "validating": ("in_progress", "failed", "expired", "cancelling"),
    "in_progress": ("finalizing", "failed", "expired", "cancelling"),
    "finalizing": ("completed", "failed", "expired"),
    "cancelling": ("cancelled",),
}
# What happens to the items of a batch that moves: state of the batch -> {state of items: new state}.
_SWEEPS: Mapping[str, Mapping[str, str]] = {
    "cancelling": {"pending": "cancelled"},
    "cancelled": {"pending": "cancelled", "claimed": "cancelled"},
    "expired": {"pending": "expired", "claimed": "expired"},
    "failed": {"pending": "cancelled", "claimed": "cancelled"},
}


class Counts(NamedTuple):
    """Items of a batch: all, answered, failed (or expired or canceled), and those that still wait or run."""

    total: int
    completed: int
    failed: int
    open: int


class NewItem(NamedTuple):
    """A line of the input file: its number from 1, and the request's body as JSON."""

    line: int
    custom_id: str
    request: str


@dataclass(frozen=True)
class Batch:
    """A batch; times are milliseconds since 1970, those of states None until they begin."""

    id: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    state: str
    metadata: Mapping[str, str]
    errors: str | None
    created: int
    expires: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    counts: Counts


class Batches:
    """The batches of a project; `Items` has their requests."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(
        self, endpoint: str, input_file_id: str, expires: int, metadata: Mapping[str, str] | None = None
    ) -> Batch:
        """A batch in state validating. The caller has checked that the file exists."""
        row: dict[str, Any] = {
            "id": "batch_" + secrets.token_hex(12),
            "endpoint": checks.text("endpoint", endpoint),
            "input_file_id": checks.text("input_file_id", input_file_id),
            "state": "validating",
            "metadata": _metadata(metadata or {}),
            "created": self._scope.clock(),
            "expires": checks.integer("expires", expires),
        }
        with self._scope.database.writing() as connection:
            self._scope.insert(connection, batches, [row])
            return self._get(connection, row["id"])

    def get(self, id: str) -> Batch | None:
        """The batch of this id."""
        with self._scope.database.reading() as connection:
            row = connection.execute(self._scope.select(batches, batches.c.id == id)).mappings().one_or_none()
            return None if row is None else self._batch(connection, row)

    def all(self, states: Collection[str] = BATCH_STATES, newest_first: bool = False) -> Iterator[Batch]:
        """The batches in these states, in the order of their creation; read while they are used."""
        where = batches.c.state.in_([checks.one_of("states", state, BATCH_STATES) for state in states])
        for row in self._scope.pages(batches, where, key=("created", "id"), newest_first=newest_first):
            with self._scope.database.reading() as connection:
                batch = self._batch(connection, row)
            yield batch

    def set_items(self, id: str, items: Iterable[NewItem]) -> int:
        """Give a validating batch its items, in the place of those of a validation that was cut short; their number.

        Raises InvalidArgument for a bad item, naming its line; the batch is to fail then.
        """
        with self._scope.database.writing() as connection:
            self._require_validating(connection, id)
            connection.execute(self._scope.delete(batch_items, batch_items.c.batch_id == id))
        n_items = 0
        for rows in _groups(_checked(items)):
            with self._scope.database.writing() as connection:
                self._require_validating(connection, id)
                self._scope.insert(connection, batch_items, [{**row, "batch_id": id} for row in rows])
            n_items += len(rows)
        return n_items

    def advance(
        self,
        id: str,
        state: str,
        *,
        output_file_id: str | None = None,
        error_file_id: str | None = None,
        errors: str | None = None,
    ) -> Batch:
        """Move a batch to its next state, with its items where it ends. In that state already, it stays as it is.

        Raises NotFound, and InvalidArgument where the state does not follow.
        """
        checks.one_of("state", state, BATCH_STATES)
        checks.optional("errors", errors, checks.MOST_TEXT_BYTES)
        given = {"output_file_id": output_file_id, "error_file_id": error_file_id, "errors": errors}
        values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        with self._scope.database.writing() as connection:
            now = self._locked(connection, id)
            if now == state:
                return self._get(connection, id)
            if state not in NEXT.get(now, ()):
                raise InvalidArgument("state", f"{id} is {now}, which {state} does not follow")
            values |= {"state": state, f"{state}_at": self._scope.clock()}
            connection.execute(self._scope.update(batches, batches.c.id == id).values(**values))
            for old, new in _SWEEPS.get(state, {}).items():
                swept = (batch_items.c.batch_id == id, batch_items.c.state == old)
                connection.execute(self._scope.update(batch_items, *swept).values(state=new, claim=None))
            return self._get(connection, id)

    def close_items(self, id: str, state: str, *, lapsed: bool = False) -> int:
        """End open items as expired or cancelled, so that none changes while results are written; how many they were.

        `lapsed`: not those that a server runs.
        """
        checks.one_of("state", state, ("expired", "cancelled"))
        claimed = batch_items.c.state == "claimed"
        if lapsed:
            claimed = sa.and_(claimed, batch_items.c.claimed_until <= self._scope.clock())
        where = (batch_items.c.batch_id == id, sa.or_(batch_items.c.state == "pending", claimed))
        with self._scope.database.writing() as connection:
            self._locked(connection, id)
            closed = self._scope.update(batch_items, *where).values(state=state, claim=None)
            return connection.execute(closed).rowcount

    def lead(self, id: str, lease_ms: int) -> bool:
        """Become, or stay for `lease_ms`, the one server that moves this batch; False: another one is.

        Items need no leader: every server may claim them.
        """
        now = self._scope.clock()
        free = sa.or_(batches.c.leader.is_(None), batches.c.leader == self._scope.server(), batches.c.lead_until <= now)
        values = {"leader": self._scope.server(), "lead_until": now + checks.integer("lease_ms", lease_ms, 1)}
        with self._scope.database.writing() as connection:
            change = self._scope.update(batches, batches.c.id == id, free).values(**values)
            return connection.execute(change).rowcount == 1

    def purge(self, before: int) -> int:
        """Delete batches made before that time that have ended, with their items; how many they were."""
        checks.integer("before", before)
        return self._scope.purge(batches, batches.c.created < before, batches.c.state.not_in(tuple(NEXT)))

    def _locked(self, connection: sa.Connection, id: str) -> str:
        """The state, which nobody else changes in this transaction."""
        row = connection.execute(self._scope.select(batches, batches.c.id == id).with_for_update()).mappings()
        state: str = found(row.one_or_none(), "batch", id)["state"]
        return state

    def _require_validating(self, connection: sa.Connection, id: str) -> None:
        if (state := self._locked(connection, id)) != "validating":
            raise InvalidArgument("id", f"{id} is {state}; only a validating batch takes items")

    def _get(self, connection: sa.Connection, id: str) -> Batch:
        row = connection.execute(self._scope.select(batches, batches.c.id == id)).mappings().one_or_none()
        return self._batch(connection, found(row, "batch", id))

    def _batch(self, connection: sa.Connection, row: sa.RowMapping) -> Batch:
        counting = self._scope.count(batch_items, batch_items.c.state).where(batch_items.c.batch_id == row["id"])
        n = dict(tuple(r) for r in connection.execute(counting))
        n_open = n.get("pending", 0) + n.get("claimed", 0)
        total, completed = sum(n.values()), n.get("completed", 0)
        values = {field.name: row[field.name] for field in fields(Batch) if field.name != "counts"}
        values["metadata"] = json.loads(row["metadata"] or "{}")
        return Batch(**values, counts=Counts(total, completed, total - completed - n_open, n_open))


def _metadata(metadata: Mapping[str, str]) -> str:
    if len(metadata) > _MOST_METADATA:
        raise InvalidArgument("metadata", f"has {len(metadata)} members, may have {_MOST_METADATA}")
    for name, value in metadata.items():
        checks.text("metadata", name, most=64)
        checks.text(f"metadata.{name}", value, most=512, least=0)
    return json.dumps(dict(metadata))


def _checked(items: Iterable[NewItem]) -> Iterator[dict[str, Any]]:
    lines: dict[str, int] = {}
    last = 0
    for line, custom_id, request in items:
        place = f"line {line}"
        if checks.integer("line", line, last + 1, most=(1 << 31) - 1) and len(lines) == MOST_ITEMS:
            raise InvalidArgument(place, f"is request {MOST_ITEMS + 1}; a batch has at most {MOST_ITEMS}")
        checks.text(f"{place}: custom_id", custom_id)
        if (earlier := lines.setdefault(custom_id, line)) != line:
            raise InvalidArgument(f"{place}: custom_id", f"{custom_id!r} is that of line {earlier}; each needs its own")
        checks.text(f"{place}: request", request, MOST_ITEM_BYTES)
        last = line
        yield {"line": line, "custom_id": custom_id, "request": request, "state": "pending", "tries": 0}


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Rows for one transaction each."""
    group: list[dict[str, Any]] = []
    n_characters = 0
    for row in rows:
        group.append(row)
        n_characters += len(row["request"])
        if len(group) == _ROWS_AT_ONCE or n_characters >= _BYTES_AT_ONCE:
            yield group
            group, n_characters = [], 0
    if group:
        yield group
