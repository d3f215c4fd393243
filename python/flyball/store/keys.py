"""Keys of the API. The database has their hashes only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from . import checks, roles
from .admin_log import LOCAL, AdminLog
from .schema import api_keys
from .scope import Scope, found, record

PREFIX = "fb-"
_RANDOM_BYTES = 32
_HINT_DIGITS = 8


@dataclass(frozen=True)
class Key:
    """A key without its secret; times are milliseconds, `expires` and `revoked` None where that is not so.

    user    whose it is; None: the key's own
    scopes  to which the role is narrowed, with spaces between; None: it is not
    """

    id: str
    name: str
    created: int
    expires: int | None
    revoked: int | None
    user: str | None = None
    role: str = "owner"
    scopes: str | None = None

    @property
    def granted(self) -> frozenset[str]:
        """What it may be used for."""
        return roles.granted(self.role, self.scopes)


@dataclass(frozen=True)
class NewKey:
    """The secret is shown once: nobody can read it from the database later."""

    secret: str = field(repr=False)
    key: Key


class Keys:
    """The keys of a project."""

    def __init__(self, scope: Scope, log: AdminLog) -> None:
        self._scope = scope
        self._log = log

    def create(
        self,
        name: str,
        expires: int | None = None,
        *,
        user: str | None = None,
        role: str = "owner",
        scopes: Collection[str] | None = None,
        by: str = LOCAL,
    ) -> NewKey:
        """A new key; `name` is a label and need not be unique. `scopes`: of the role's; None: all of them."""
        role, narrowed = roles.checked(role, scopes)
        expires, user = checks.time("expires", expires), checks.optional("user", user)
        key = Key("", checks.text("name", name), 0, expires, None, user, role, narrowed)
        with self._scope.database.writing() as connection:
            new = self._create(connection, key)
            self._tell(connection, by, "token.create", new.key)
        return new

    def find(self, secret: str) -> Key | None:
        """The key of this secret; None where it is unknown, revoked or expired."""
        with self._scope.database.reading() as connection:
            rows = connection.execute(self._scope.select(api_keys, api_keys.c.hint == hint(secret))).mappings().all()
        row = matching(rows, secret, self._scope.clock())
        return None if row is None else record(Key, row)

    def all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return [record(Key, row) for row in self._scope.pages(api_keys, key=("created", "id"))]

    def revoke(self, id: str, by: str = LOCAL) -> Key:
        """The key is refused from now on; a second time changes nothing. Raises NotFound."""
        with self._scope.database.writing() as connection:
            key = self._get(connection, id)
            if key.revoked is None:
                key = self._set(connection, id, revoked=self._scope.clock())
                self._tell(connection, by, "token.revoke", key)
        return key

    def rotate(self, id: str, grace_ms: int = 0, by: str = LOCAL) -> NewKey:
        """A new key that may do the same; the old one ends after `grace_ms`. Raises NotFound."""
        ends = self._scope.clock() + checks.integer("grace_ms", grace_ms, most=1 << 40)
        with self._scope.database.writing() as connection:
            old = self._get(connection, id)
            new = self._create(connection, old)
            self._set(connection, id, expires=ends if old.expires is None else min(ends, old.expires))
            self._tell(connection, by, "token.rotate", new.key, old=id)
        return new

    def _create(self, connection: sa.Connection, like: Key) -> NewKey:
        secret = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        key = replace(like, id="key_" + secrets.token_hex(8), created=self._scope.clock(), revoked=None)
        self._scope.insert(connection, api_keys, [{**vars(key), "sha256": hashed(secret), "hint": hint(secret)}])
        return NewKey(secret, key)

    def _tell(self, connection: sa.Connection, by: str, act: str, key: Key, **more: str) -> None:
        about = {name: getattr(key, name) for name in ("name", "user", "role", "scopes", "expires")}
        self._log.add(connection, by, act, key.id, about | more)

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
