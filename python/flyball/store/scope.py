"""One project in one database: every statement about its rows is built here, so that none can reach another project."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..errors import InvalidArgument, NotFound
from .database import OneProject

_PAGE = 200
_PURGED_AT_ONCE = 1000  # a long deletion would keep other writers waiting

Record = TypeVar("Record")
Condition = sa.ColumnElement[bool]


def now_ms() -> int:
    """Milliseconds since 1970 in UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Scope:
    """`instance` names the server that writes, or is None for a tool; `keep_text` stores prompts and answers."""

    database: OneProject
    clock: Callable[[], int]
    instance: str | None
    keep_text: bool

    @property
    def project_id(self) -> int:
        """The number of the project."""
        return self.database.project_id

    def server(self) -> str:
        """The instance. Raises InvalidArgument in a tool."""
        if self.instance is None:
            raise InvalidArgument("instance", "is needed by what works on batches; give it to Store.open")
        return self.instance

    def select(self, table: sa.Table, *where: Condition) -> sa.Select[Any]:
        return sa.select(table).where(self._own(table), *where)

    def count(self, table: sa.Table, *by: sa.Column[Any]) -> sa.Select[Any]:
        """The number of rows, for each value of the columns `by`."""
        return sa.select(*by, sa.func.count()).select_from(table).where(self._own(table)).group_by(*by)

    def update(self, table: sa.Table, *where: Condition) -> sa.Update:
        return sa.update(table).where(self._own(table), *where)

    def delete(self, table: sa.Table, *where: Condition) -> sa.Delete:
        return sa.delete(table).where(self._own(table), *where)

    def insert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        connection.execute(sa.insert(table), [{**row, "project_id": self.project_id} for row in rows])

    def insert_new(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """False: a row with one of its unique values is there already."""
        statement = _insert_new(self.database.is_sqlite, table)
        return self._insert_one(connection, statement, row, {"preserve_rowcount": True}).rowcount == 1

    def replace(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert the row, or give the one with this primary key its values."""
        self._insert_one(connection, _replace(self.database.is_sqlite, table, tuple(row)), row)

    def add(self, connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Insert the row, or add its values to those of the one with this primary key."""
        self._insert_one(connection, _add(self.database.is_sqlite, table, tuple(row)), row)

    def pages(
        self, table: sa.Table, *where: Condition, key: tuple[str, ...], newest_first: bool = False
    ) -> Iterator[sa.RowMapping]:
        """Rows in the order of the columns `key`, which tell them apart.

        A page is a transaction of its own: a slow reader holds neither a connection nor the database's old pages.
        """
        columns = [table.c[name] for name in key]
        order = [column.desc() if newest_first else column for column in columns]
        after: list[Condition] = []
        while True:
            with self.database.reading() as connection:
                rows = connection.execute(self.select(table, *where, *after).order_by(*order).limit(_PAGE)).mappings()
                page = rows.all()
            yield from page
            if len(page) < _PAGE:
                return
            last = sa.tuple_(*(page[-1][name] for name in key))
            after = [sa.tuple_(*columns) < last if newest_first else sa.tuple_(*columns) > last]

    def one(self, connection: sa.Connection, table: sa.Table, *where: Condition, kind: type[Record]) -> Record | None:
        row = connection.execute(self.select(table, *where)).mappings().one_or_none()
        return None if row is None else record(kind, row)

    def purge(self, table: sa.Table, *where: Condition) -> int:
        """Delete rows by their id, some at a time; how many they were."""
        n_purged = 0
        while True:
            with self.database.writing() as connection:
                found = self.select(table, *where).with_only_columns(table.c.id).limit(_PURGED_AT_ONCE)
                n = connection.execute(self.delete(table, table.c.id.in_(found.scalar_subquery()))).rowcount
            n_purged += n
            if n < _PURGED_AT_ONCE:
                return n_purged

    def _own(self, table: sa.Table) -> Condition:
        return table.c.project_id == self.project_id

    def _insert_one(
        self,
        connection: sa.Connection,
        statement: sa.Insert,
        row: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> sa.CursorResult[Any]:
        return connection.execute(statement, {**row, "project_id": self.project_id}, execution_options=options or {})


# Statements of which only the values change are made once: making one takes longer than running it.


def _insert(is_sqlite: bool, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return (sqlite.insert if is_sqlite else postgresql.insert)(table)


@cache
def _insert_new(is_sqlite: bool, table: sa.Table) -> sa.Insert:
    return _insert(is_sqlite, table).on_conflict_do_nothing()


@cache
def _replace(is_sqlite: bool, table: sa.Table, columns: tuple[str, ...]) -> sa.Insert:
    insert = _insert(is_sqlite, table)
    values = {name: insert.excluded[name] for name in columns if not table.c[name].primary_key}
    return insert.on_conflict_do_update(index_elements=table.primary_key, set_=values)


@cache
def _add(is_sqlite: bool, table: sa.Table, columns: tuple[str, ...]) -> sa.Insert:
    insert = _insert(is_sqlite, table)
    sums = {name: table.c[name] + insert.excluded[name] for name in columns if not table.c[name].primary_key}
    return insert.on_conflict_do_update(index_elements=table.primary_key, set_=sums)


def record(kind: type[Record], row: sa.RowMapping | dict[str, Any]) -> Record:
    """A dataclass from the columns of its fields' names."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def found(value: Record | None, what: str, name: str) -> Record:
    """The value, or NotFound."""
    if value is None:
        raise NotFound(name, f"no {what} of this project has this id")
    return value
