"""Keys of the API. The database has their hashes only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa

from . import checks
from .schema import api_keys
from .scope import Scope, found, record

PREFIX = "fb-"
_RANDOM_BYTES = 32
_HINT_DIGITS = 8


@dataclass(frozen=True)
class Key:
    """A key without its secret; times are milliseconds, `expires` and `revoked` None where that is not so."""

    id: str
    name: str
    created: int
    expires: int | None
    revoked: int | None


@dataclass(frozen=True)
class NewKey:
    """The secret is shown once: nobody can read it from the database later."""

    secret: str = field(repr=False)
    key: Key


class Keys:
    """The keys of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(self, name: str, expires: int | None = None) -> NewKey:
        """A new key; `name` is a label and need not be unique."""
        with self._scope.database.writing() as connection:
            return self._create(connection, checks.text("name", name), checks.time("expires", expires))

    def find(self, secret: str) -> Key | None:
        """The key of this secret; None where it is unknown, revoked or expired."""
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(api_keys, api_keys.c.hint == hint(secret))).mappings().all()
        row = matching(rows, secret, self._scope.clock())
        return None if row is None else record(Key, row)

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return [record(Key, row) for row in self._scope.pages(api_keys, key=("created", "id"))]

    def revoke(self, id: str) -> Key:
        """The key is refused from now on; a second time changes nothing. Raises NotFound."""
        with self._scope.database.writing() as connection:
            key = self._get(connection, id)
            return key if key.revoked is not None else self._set(connection, id, revoked=self._scope.clock())

    def rotate(self, id: str, grace_ms: int = 0) -> NewKey:
        """A new key of the same name; the old one ends after `grace_ms`. Raises NotFound."""
        ends = self._scope.clock() + checks.integer("grace_ms", grace_ms, most=1 << 40)
        with self._scope.database.writing() as connection:
            old = self._get(connection, id)
            new = self._create(connection, old.name, old.expires)
            self._set(connection, id, expires=ends if old.expires is None else min(ends, old.expires))
        return new

    def _create(self, connection: sa.Connection, name: str, expires: int | None) -> NewKey:
        secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        key = Key("key_" + secrets.token_hex(8), name, self._scope.clock(), expires, None)
        self._scope.insert(connection, api_keys, [{**vars(key), "sha256": hashed(secret), "hint": hint(secret)}])
        return NewKey(secret, key)

    def _get(self, connection: sa.Connection, id: str) -> Key:
        return found(self._scope.one(connection, api_keys, api_keys.c.id == id, kind=Key), "key", id)

    def _set(self, connection: sa.Connection, id: str, **values: int) -> Key:
        connection.execute(self._scope.update(api_keys, api_keys.c.id == id).values(**values))
        return self._get(connection, id)


def hashed(secret: str) -> str:
    """A fast hash is enough: slow ones protect passwords that people choose, and nobody tries 2**256 random keys."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def hint(secret: str) -> str:
    """What the index sees; the rest of the hash is compared in constant time."""
    return hashed(secret)[:_HINT_DIGITS]


def matching(rows: Iterable[sa.RowMapping], secret: str, now: int) -> sa.RowMapping | None:
    """The row of a usable key with this secret."""
    wanted = hashed(secret)
    same = [row for row in rows if hmac.compare_digest(row["sha256"], wanted)]
    return next(
        (row for row in same if row["revoked"] is None and (row["expires"] is None or row["expires"] > now)), None
    )
