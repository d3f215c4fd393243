"""Forgetting: what is remembered of a user is deleted for good, and a chain of records says what was and when."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import InvalidArgument, NotFound
from . import chain
from .schema import memory_chunks, memory_deletions, memory_items, memory_vectors
from .scope import Scope

_MOST_IDS = 1000


@dataclass(frozen=True)
class Deletion:
    """A record of its project's chain.

    json    what was deleted: owner, ids with their salted hashes, counts, time, and the hash of the record before
    hash    SHA-256 of that text
    wiped   whether the bytes are gone from the database's file; None where that is not known
    """

    number: int
    owner: str
    json: str
    hash: str
    wiped: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """The record's members, its hash and whether the bytes are gone."""
        return {**json.loads(self.json), "hash": self.hash, "wiped": self.wiped}


class Deletions:
    """The deletions of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def forget(self, owner: str, ids: Collection[str] | None = None) -> Deletion:
        """Delete these items of the owner, or all of them, with their pieces, index entries and vectors.

        On SQLite the bytes are overwritten before this returns, unless another program reads the database all the time:
        then `wiped` is False, and the next deletion does it. Raises NotFound, and deletes nothing, if an id is not one
        of the owner's.
        """
        if ids is not None and not 0 < len(ids) <= _MOST_IDS:
            raise InvalidArgument("ids", f"are {len(ids)}, must be 1 to {_MOST_IDS}")
        database = self._scope.database
        with database.writing() as connection:
            chain.lock(self._scope, connection)
            where = [memory_items.c.owner == owner]
            if ids is not None:
                where.append(memory_items.c.id.in_(list(ids)))
            found = connection.execute(self._scope.select(memory_items, *where)).mappings().all()
            hashes = {row["id"]: row["hash"] for row in found}
            missing = sorted(set(ids) - set(hashes)) if ids is not None else ([] if hashes else [owner])
            if missing:
                raise NotFound(missing[0], "nothing of this user has this id, or nothing is remembered")
            about = {
                "owner": owner,
                "items": dict(sorted(hashes.items())),
                "n_chunks": self._count(connection, memory_chunks, owner, ids),
                "n_vectors": self._count(connection, memory_vectors, owner, ids),
            }
            connection.execute(self._scope.delete(memory_items, *where))  # the rest goes with it
            if database.is_sqlite:  # deleted entries would stay in the index until it is merged
                connection.exec_driver_sql("INSERT INTO memory_index(memory_index) VALUES ('optimize')")
            made = self._record(connection, owner, about)
        wiped = database.checkpoint() if database.is_sqlite else None
        return Deletion(made.number, owner, made.json, made.hash, wiped)

    def all(self) -> list[Deletion]:
        """The chain, oldest first."""
        rows = self._scope.pages(memory_deletions, key=("number",))
        return [Deletion(row["number"], row["owner"], row["json"], row["hash"]) for row in rows]

    def _count(self, connection: sa.Connection, table: sa.Table, owner: str, ids: Collection[str] | None) -> int:
        mine = self._scope.select(memory_items, memory_items.c.owner == owner).with_only_columns(memory_items.c.id)
        where = [table.c.item_id.in_(mine)]
        if ids is not None:
            where.append(table.c.item_id.in_(list(ids)))
        n: int = connection.execute(self._scope.select(table, *where).with_only_columns(sa.func.count())).scalar_one()
        return n

    def _record(self, connection: sa.Connection, owner: str, about: dict[str, Any]) -> Deletion:
        link = chain.following(self._scope, connection, memory_deletions, about)
        made = Deletion(link.number, owner, link.json, link.hash)
        row = {"number": made.number, "owner": owner, "json": made.json, "hash": made.hash}
        self._scope.insert(connection, memory_deletions, [row])
        return made
