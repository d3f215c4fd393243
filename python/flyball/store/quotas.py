"""Quotas of a project: what it may use, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, fields

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .admin_log import LOCAL, AdminLog
from .schema import files, limits, memory_items, requests
from .scope import Scope, record

_FINISHED = sa.func.coalesce(
    requests.c.n_prompt_tokens + requests.c.n_generated_tokens, requests.c.n_reserved, 0
)  # of one that runs, or whose end nobody knows: what it may take


class QuotaExceeded(InvalidArgument):
    """There is no room for what was to be stored."""


@dataclass(frozen=True)
class Quota:
    """What a project may use; None: as much as there is. `tokens_per_day`: prompts and answers of a day in UTC;
    `bytes`: files, results of batches, and memory."""

    requests_per_minute: int | None = None
    concurrent: int | None = None
    tokens_per_day: int | None = None
    bytes: int | None = None


LIMITS = tuple(field.name for field in fields(Quota))


@dataclass(frozen=True)
class Used:
    """Of answers: tokens and how many since two times, and how many run."""

    tokens: int
    n_requests: int
    n_running: int


class Quotas:
    """The quota of a project."""

    def __init__(self, scope: Scope, log: AdminLog) -> None:
        self._scope = scope
        self._log = log

    def get(self) -> Quota:
        """What the project may use."""
        with self._scope.database.reading() as connection:
            return self._get(connection)

    def set(self, quota: Quota, by: str = LOCAL) -> Quota:
        """Give the project this quota."""
        values = vars(quota)
        for name, value in values.items():
            if value is not None:
                checks.integer(name, value)
        with self._scope.database.writing() as connection:
            self._scope.replace(connection, limits, values)
            self._log.add(connection, by, "quota.set", "quota", values)
        return quota

    def used(self, day: int, minute: int, started: int) -> Used:
        """Answers since two times (milliseconds since 1970), but for those of this instance since it `started`."""
        c = requests.c
        elsewhere = c.instance.is_distinct_from(self._scope.instance)
        n_all = (
            sa.func.coalesce(sa.func.sum(sa.case((c.created >= day, _FINISHED), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((c.created >= minute, 1), else_=0)), 0),
            sa.func.coalesce(sa.func.sum(sa.case((elsewhere & c.finished.is_(None), 1), else_=0)), 0),
        )
        where = (c.created >= min(day, minute), elsewhere | (c.created < started))
        with self._scope.database.reading() as connection:
            row = connection.execute(self._scope.select(requests, *where).with_only_columns(*n_all)).one()
        return Used(*map(int, row))

    def n_bytes(self) -> int:
        """What is stored of files, results of batches, and memory."""
        with self._scope.database.reading() as connection:
            return self._n_bytes(connection)

    def check_room(self, connection: sa.Connection, more: int = 0) -> None:
        """Raise QuotaExceeded where what is stored, and so many bytes more, exceeds the quota."""
        most = self._get(connection).bytes
        if most is not None and (n := self._n_bytes(connection) + more) > most:
            raise QuotaExceeded(
                "quota", f"bytes: {n} would be stored, the project may have {most}; delete files, or have it raised"
            )

    def _get(self, connection: sa.Connection) -> Quota:
        row = connection.execute(self._scope.select(limits)).mappings().one_or_none()
        return Quota() if row is None else record(Quota, row)

    def _n_bytes(self, connection: sa.Connection) -> int:
        sums = ((files, files.c.n_bytes), (memory_items, memory_items.c.n_characters))
        chosen = (self._scope.select(table).with_only_columns(sa.func.sum(column)) for table, column in sums)
        return sum(int(connection.execute(each).scalar_one() or 0) for each in chosen)
