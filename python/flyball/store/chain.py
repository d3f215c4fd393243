"""Records of a project that follow each other: each has the hash of the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from .schema import projects
from .scope import Scope

FIRST = "0" * 64


class Link(Protocol):
    """A record as it is checked."""

    @property
    def number(self) -> int: ...

    @property
    def json(self) -> str: ...

    @property
    def hash(self) -> str: ...


class Made(NamedTuple):
    """The next record of a chain."""

    number: int
    json: str
    hash: str


def lock(scope: Scope, connection: sa.Connection) -> None:
    """One record of a project at a time, until the end of the transaction."""
    connection.execute(scope.select(projects).with_for_update())


def following(scope: Scope, connection: sa.Connection, table: sa.Table, about: Mapping[str, Any]) -> Made:
    """The record of `about` behind the newest of the table; the caller stores it, and has the lock."""
    newest = scope.select(table).order_by(table.c.number.desc()).limit(1)
    before = connection.execute(newest).mappings().one_or_none()
    number, previous = (1, FIRST) if before is None else (before["number"] + 1, before["hash"])
    whole = {"number": number, "time": scope.clock(), **about, "previous": previous}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return Made(number, text, _hash(text))


def first_broken(chain: Iterable[Link]) -> int | None:
    """The number of the first record that was changed, or does not follow the one before; None: the chain holds."""
    previous = FIRST
    for n, each in enumerate(chain, 1):
        about = json.loads(each.json)
        follows = each.number == about["number"] == n and about["previous"] == previous
        if not follows or _hash(each.json) != each.hash:
            return each.number
        previous = each.hash
    return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
