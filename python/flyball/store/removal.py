"""Deleting a project, and what proves it: rows of every table before and after, and a record in the default's log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from . import chain
from .admin_log import DELETED, Act
from .schema import api_keys, metadata, projects
from .scope import Scope

if TYPE_CHECKING:
    from .store import Store

_AT_ONCE = 100  # rows in a transaction, as a row may be a MiB


@dataclass(frozen=True)
class Removal:
    """A project that is no more.

    before  rows of each table
    act     the record in the log of the default project, which has these counts
    wiped   whether the bytes are gone from SQLite's files; None: PostgreSQL, where VACUUM frees them
    """

    before: dict[str, int]
    act: Act
    wiped: bool | None


def remove(store: Store, scope: Scope, name: str, by: str, also: Mapping[str, Any]) -> Removal:
    """Delete every row of the scope's project, and the project. After an error or a crash it is done by doing it again.

    Its keys go first: nobody gets in meanwhile. Its own row goes last, and the database then refuses what a server that
    still runs would store for it.
    """
    tables = [table for table in reversed(metadata.sorted_tables) if table is not projects]
    with scope.database.writing() as connection:
        before = _counts(scope, connection)
        connection.execute(scope.delete(api_keys))
    log, head = store.project().log, store.project(name).log.head()
    for table in tables:
        _purge(scope, table)
    with store.together():
        with scope.database.writing() as connection:
            chain.lock(scope, connection)
            for table in (*tables, projects):
                connection.execute(scope.delete(table))
            after = _counts(scope, connection)
            if scope.database.is_sqlite:  # deleted entries would stay in the index until it is merged
                connection.exec_driver_sql("INSERT INTO memory_index(memory_index) VALUES ('optimize')")
        about = {**also, "rows_before": before, "rows_after": after, "log_head": head}
        act = log.append(by, DELETED, name, about, scope.project_id)
    return Removal(before, act, store.checkpoint())


def _counts(scope: Scope, connection: sa.Connection) -> dict[str, int]:
    return {table.name: connection.execute(scope.count(table)).scalar() or 0 for table in metadata.sorted_tables}


def _purge(scope: Scope, table: sa.Table) -> None:
    key = list(table.primary_key)
    some = scope.select(table).with_only_columns(*key).limit(_AT_ONCE)
    n = _AT_ONCE
    while n == _AT_ONCE:
        with scope.database.writing() as connection:
            n = connection.execute(scope.delete(table, sa.tuple_(*key).in_(some))).rowcount
