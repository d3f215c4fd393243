"""Answers that are given again: bytes under the keys of their questions, bounded by time and by room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from . import checks
from .schema import cached_answers
from .scope import Condition, Scope

MOST_BYTES = 16 << 20  # of one
_DROPPED_AT_ONCE = 200

_table = cached_answers


@dataclass(frozen=True)
class CachedGroup:
    """The answers of one model with one adapter ("": none). `used`: when the latest was, in milliseconds since 1970."""

    fingerprint: str
    adapter: str
    n_answers: int
    n_bytes: int
    used: int


class CachedAnswers:
    """The cached answers of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        # Made once: making a statement takes longer than running it.
        key: sa.BindParameter[str] = sa.bindparam("key")
        now: sa.BindParameter[int] = sa.bindparam("now")
        found = scope.select(_table, _table.c.id == key, _table.c.expires > now)
        self._found = found.with_only_columns(_table.c.content)
        self._touched = scope.update(_table, _table.c.id == key).values(used=now)

    def put(self, key: str, content: bytes, *, fingerprint: str, adapter: str = "", expires: int) -> None:
        """Store an answer until `expires` (milliseconds since 1970), in the place of the one with this key."""
        now = self._scope.clock()
        row = {
            "id": checks.text("key", key),
            "fingerprint": checks.text("fingerprint", fingerprint),
            "adapter": checks.text("adapter", adapter, least=0),
            "n_bytes": checks.integer("content", len(content), least=1, most=MOST_BYTES),
            "created": now,
            "used": now,
            "expires": checks.integer("expires", expires),
            "content": content,
        }
        with self._scope.database.writing() as connection:
            self._scope.replace(connection, _table, row)

    def get(self, key: str) -> bytes | None:
        """The answer with this key, unless it has expired."""
        with self._scope.database.reading() as connection:
            content: bytes | None = connection.execute(self._found, {"key": key, "now": self._scope.clock()}).scalar()
        return None if content is None else bytes(content)

    def touch(self, key: str) -> None:
        """The answer was used now."""
        with self._scope.database.writing() as connection:
            connection.execute(self._touched, {"key": key, "now": self._scope.clock()})

    def remove(self, key: str) -> bool:
        """Delete one; False: it was not there."""
        with self._scope.database.writing() as connection:
            return connection.execute(self._scope.delete(_table, _table.c.id == key)).rowcount == 1

    def purge(self, fingerprint: str = "", adapter: str = "") -> int:
        """Delete those of the models and adapters whose fingerprints begin so; how many they were."""
        return self._scope.purge(_table, *_begin_with(fingerprint, adapter))

    def purge_expired(self) -> int:
        """Delete what has expired; how many answers that were."""
        return self._scope.purge(_table, _table.c.expires <= self._scope.clock())

    def n_bytes(self) -> int:
        """Bytes of all."""
        with self._scope.database.reading() as connection:
            return self._n_bytes(connection)

    def trim(self, most_bytes: int) -> int:
        """Delete the least recently used until at most so many bytes remain; how many were deleted."""
        checks.integer("most_bytes", most_bytes)
        n_dropped = 0
        with self._scope.database.writing() as connection:
            excess = self._n_bytes(connection) - most_bytes
            while excess > 0:
                oldest = self._scope.select(_table).with_only_columns(_table.c.id, _table.c.n_bytes)
                rows = connection.execute(oldest.order_by(_table.c.used, _table.c.id).limit(_DROPPED_AT_ONCE)).all()
                dropped = []
                for key, n_bytes in rows:
                    dropped.append(key)
                    excess -= n_bytes
                    if excess <= 0:
                        break
                n_dropped += connection.execute(self._scope.delete(_table, _table.c.id.in_(dropped))).rowcount
        return n_dropped

    def groups(self) -> Sequence[CachedGroup]:
        """What there is, by model and adapter."""
        by = (_table.c.fingerprint, _table.c.adapter)
        sums = (sa.func.count(), sa.func.sum(_table.c.n_bytes), sa.func.max(_table.c.used))
        chosen = self._scope.select(_table).with_only_columns(*by, *sums).group_by(*by).order_by(*by)
        with self._scope.database.reading() as connection:
            rows = connection.execute(chosen).all()
        return [CachedGroup(model, adapter, n, int(size), used) for model, adapter, n, size, used in rows]

    def _n_bytes(self, connection: sa.Connection) -> int:
        total = self._scope.select(_table).with_only_columns(sa.func.coalesce(sa.func.sum(_table.c.n_bytes), 0))
        return int(connection.execute(total).scalar_one())


def _begin_with(fingerprint: str, adapter: str) -> list[Condition]:
    given = ((_table.c.fingerprint, fingerprint), (_table.c.adapter, adapter))
    return [column.startswith(digits, autoescape=True) for column, digits in given if digits]
