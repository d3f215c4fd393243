"""Receipts, as the bytes that were signed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InvalidArgument
from . import checks
from .schema import receipts
from .scope import Scope, record


@dataclass(frozen=True)
class Receipt:
    """A stored receipt, and the JSON text of its signature if it has one; `expires` None: it is kept."""

    id: str
    json: str
    signature: str | None
    created: int
    expires: int | None


class Receipts:
    """The receipts of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put(self, id: str, json: str, signature: str | None = None, *, expires: int | None = None) -> Receipt:
        """Store a receipt until `expires` (milliseconds since 1970). The same again changes nothing.

        Raises InvalidArgument if the id has another receipt: receipts are never changed.
        """
        new = Receipt(
            checks.text("id", id),
            checks.text("json", json, checks.MOST_TEXT_BYTES),
            checks.optional("signature", signature, checks.MOST_TEXT_BYTES),
            self._scope.clock(),
            checks.time("expires", expires),
        )
        with self._scope.database.writing() as connection:
            if self._scope.insert_new(connection, receipts, vars(new)):
                return new
            stored = self._scope.one(connection, receipts, receipts.c.id == id, kind=Receipt)
        if stored is None or stored.json != json:
            raise InvalidArgument("id", f"{id} already has another receipt; receipts are never changed")
        return stored

    def keep(self, id: str, until: int) -> bool:
        """Have it kept at least until then (milliseconds since 1970); False: there is none, or it is kept as long."""
        lapses = receipts.c.expires < checks.integer("until", until)
        with self._scope.database.writing() as connection:
            changed = self._scope.update(receipts, receipts.c.id == id, lapses).values(expires=until)
            return connection.execute(changed).rowcount == 1

    def get(self, id: str) -> Receipt | None:
        """The receipt of this id, also one that expired and is not purged yet."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, receipts, receipts.c.id == id, kind=Receipt)

    def between(self, start: int, end: int) -> Iterator[Receipt]:
        """Receipts stored at `start` or later and before `end`, in time order; read while they are used."""
        start, end = checks.span(start, end)
        where = (receipts.c.created >= start, receipts.c.created < end)
        return (record(Receipt, row) for row in self._scope.pages(receipts, *where, key=("created", "id")))

    def purge(self) -> int:
        """Delete what has expired; how many receipts that were."""
        return self._scope.purge(receipts, receipts.c.expires <= self._scope.clock())
