"""What was administered in a project, by whom: a chain of records that nobody changes unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import chain, checks
from .schema import admin_log
from .scope import Scope, record

CREATED, DELETED = "project.create", "project.delete"
LOCAL = "local"  # whoever administers at the machine, without a token


@dataclass(frozen=True)
class Act:
    """An administrative act. `subject`: what it changed; `subject_id`: a project's number; `json`: all of it."""

    number: int
    act: str
    subject: str
    subject_id: int | None
    json: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        """The record's members and its hash."""
        return {**json.loads(self.json), "hash": self.hash}


class AdminLog:
    """The acts in a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(
        self,
        connection: sa.Connection,
        by: str,
        act: str,
        subject: str,
        about: Mapping[str, Any],
        subject_id: int | None = None,
    ) -> Act:
        """Append an act to the transaction that does it: neither is stored without the other."""
        chain.lock(self._scope, connection)
        whole = {**about, "act": act, "by": checks.text("by", by), "subject": subject}
        made = chain.following(self._scope, connection, admin_log, whole)
        done = Act(made.number, act, subject, subject_id, made.json, made.hash)
        self._scope.insert(connection, admin_log, [vars(done)])
        return done

    def append(self, *about: Any) -> Act:
        """The same in a transaction of its own, or that of Store.together()."""
        with self._scope.database.writing() as connection:
            return self.add(connection, *about)

    def last_project(self, name: str) -> int:
        """The highest number that a project was ever given, to be followed in this transaction.

        Raises InvalidArgument if a project of this name was deleted: servers may still have in memory what it had.
        """
        with self._scope.database.writing() as connection:
            chain.lock(self._scope, connection)
            deleted = (admin_log.c.act == DELETED, admin_log.c.subject == name)
            if connection.execute(self._scope.select(admin_log, *deleted)).first() is not None:
                raise InvalidArgument("name", f"{name} was a project that was deleted; take another name")
            last = self._scope.select(admin_log).with_only_columns(sa.func.max(admin_log.c.subject_id))
            return int(connection.execute(last).scalar() or 0)

    def all(self) -> list[Act]:
        """The chain, oldest first."""
        return [record(Act, row) for row in self._scope.pages(admin_log, key=("number",))]

    def head(self) -> str:
        """The hash of the newest act. Kept elsewhere, it shows later that none was cut off."""
        newest = self._scope.select(admin_log).order_by(admin_log.c.number.desc()).limit(1)
        with self._scope.database.reading() as connection:
            row = connection.execute(newest).mappings().one_or_none()
        return chain.FIRST if row is None else str(row["hash"])
