"""The items of batches: servers claim them, answer them, and lose them again when they die."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import checks
from .schema import ITEM_STATES, batch_items, batches
from .scope import Condition, Scope, record

MOST_TRIES = 3
_MOST_CLAIMED = 1000


@dataclass(frozen=True)
class Item:
    """A request of a batch; `claim` tells whose answer counts while it is claimed."""

    batch_id: str
    line: int
    custom_id: str
    request: str
    state: str
    tries: int
    response: str | None
    error: str | None
    digest: str | None
    claim: str | None


class Items:
    """The items of a project's batches.

    A claim is a lease: when it lapses, as its server died, the item can be claimed again, MOST_TRIES times in all.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def claim(self, n: int, lease_ms: int) -> list[Item]:
        """At most `n` items of the batches in progress, the oldest first, for this server alone.

        Items whose server died in the last of their tries fail instead.
        """
        checks.integer("n", n, 1, _MOST_CLAIMED)
        mine = {
            "state": "claimed",
            "claim": secrets.token_hex(16),
            "claimed_by": self._scope.server(),
            "claimed_until": self._scope.clock() + checks.integer("lease_ms", lease_ms, 1),
            "tries": batch_items.c.tries + 1,
        }
        claimed: list[Item] = []
        with self._scope.database.writing() as connection:
            for batch_id in self._in_progress(connection):
                of_batch = batch_items.c.batch_id == batch_id
                self._fail_lapsed(connection, of_batch)
                lines = self._free_lines(connection, of_batch, n - len(claimed))
                if lines:
                    these = (of_batch, batch_items.c.line.in_(lines))
                    connection.execute(self._scope.update(batch_items, *these).values(**mine))
                    rows = connection.execute(self._scope.select(batch_items, *these).order_by(batch_items.c.line))
                    claimed += [record(Item, row) for row in rows.mappings()]
                if len(claimed) == n:
                    break
        return claimed

    def renew(self, items: Iterable[Item], lease_ms: int) -> list[Item]:
        """Keep claims for `lease_ms` from now; those that are still this server's. A lost one need not be answered."""
        until = self._scope.clock() + checks.integer("lease_ms", lease_ms, 1)
        with self._scope.database.writing() as connection:
            return [item for item in items if self._change(connection, item, claimed_until=until)]

    def complete(self, item: Item, response: str, digest: str | None = None) -> bool:
        """Store the answer (JSON). False: the claim was lost, and the item is another's or has ended."""
        checks.text("response", response, checks.MOST_TEXT_BYTES)
        return self._end(item, state="completed", response=response, digest=checks.optional("digest", digest))

    def fail(self, item: Item, error: str, *, again: bool = False) -> bool:
        """Store the error (JSON); `again`: the item waits for another try if it has one left. False: as `complete`."""
        checks.text("error", error, checks.MOST_TEXT_BYTES)
        return self._end(item, state="pending" if again and item.tries < MOST_TRIES else "failed", error=error)

    def release(self, items: Iterable[Item]) -> None:
        """Give items back unanswered, as a server does that shuts down: the try does not count."""
        with self._scope.database.writing() as connection:
            for item in items:
                self._change(connection, item, state="pending", claim=None, tries=item.tries - 1)

    def of(self, batch_id: str, states: Collection[str] = ITEM_STATES) -> Iterator[Item]:
        """A batch's items in these states, by their line; read while they are used."""
        known = [checks.one_of("states", state, ITEM_STATES) for state in states]
        where = (batch_items.c.batch_id == batch_id, batch_items.c.state.in_(known))
        return (record(Item, row) for row in self._scope.pages(batch_items, *where, key=("line",)))

    def recover(self) -> int:
        """What this instance had claimed when it ended can be claimed at once; how many items that are."""
        if self._scope.instance is None:
            return 0
        left = (batch_items.c.state == "claimed", batch_items.c.claimed_by == self._scope.instance)
        with self._scope.database.writing() as connection:
            return connection.execute(self._scope.update(batch_items, *left).values(claimed_until=0)).rowcount

    def _in_progress(self, connection: sa.Connection) -> list[str]:
        where = (batches.c.state == "in_progress", batches.c.expires > self._scope.clock())
        chosen = self._scope.select(batches, *where).with_only_columns(batches.c.id)
        return list(connection.execute(chosen.order_by(batches.c.created, batches.c.id)).scalars())

    def _free_lines(self, connection: sa.Connection, of_batch: Condition, n: int) -> list[int]:
        """Locked, so that of several servers each gets other ones; SQLite's writer is alone anyway."""
        lines: list[int] = []
        for free in (batch_items.c.state == "pending", self._lapsed()):
            if len(lines) < n:
                chosen = self._scope.select(batch_items, of_batch, free).with_only_columns(batch_items.c.line)
                chosen = chosen.order_by(batch_items.c.line).limit(n - len(lines)).with_for_update(skip_locked=True)
                lines += connection.execute(chosen).scalars()
        return lines

    def _fail_lapsed(self, connection: sa.Connection, of_batch: Condition) -> None:
        where = (of_batch, self._lapsed(), batch_items.c.tries >= MOST_TRIES)
        chosen = self._scope.select(batch_items, *where).with_only_columns(batch_items.c.line)
        lines = list(connection.execute(chosen.with_for_update(skip_locked=True)).scalars())
        if lines:
            error = f'{{"message": "the server ended {MOST_TRIES} times while it ran this request"}}'
            failed = self._scope.update(batch_items, of_batch, batch_items.c.line.in_(lines))
            connection.execute(failed.values(state="failed", error=error, claim=None))

    def _lapsed(self) -> Condition:
        return sa.and_(batch_items.c.state == "claimed", batch_items.c.claimed_until <= self._scope.clock())

    def _end(self, item: Item, **values: Any) -> bool:
        with self._scope.database.writing() as connection:
            return self._change(connection, item, **values, claim=None)

    def _change(self, connection: sa.Connection, item: Item, **values: Any) -> bool:
        where = (
            batch_items.c.batch_id == item.batch_id,
            batch_items.c.line == item.line,
            batch_items.c.state == "claimed",
            batch_items.c.claim == item.claim,
        )
        return connection.execute(self._scope.update(batch_items, *where).values(**values)).rowcount == 1
