"""A server's name in a database is its own while it runs: a second one would take its work for left over."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Callable

import sqlalchemy as sa

from ..errors import FileError, InvalidArgument
from .database import Database
from .faults import translated

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}  # a file system without flock


def hold(database: Database, instance: str) -> Callable[[], None]:
    """Take the name until the process ends, however it ends, or the returned function is called.

    Raises InvalidArgument for a name that another server has, or that is no name.
    """
    if not isinstance(instance, str) or not _NAME.fullmatch(instance):
        raise InvalidArgument("instance", f"is {instance!r}, must be 1 to 64 letters, digits, dots, - or _")
    return _hold_file(database.where, instance) if database.is_sqlite else _hold_session(database, instance)


def _hold_file(path: str, instance: str) -> Callable[[], None]:
    name = f"{path}-{instance}.lock"
    try:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileError(name, f"cannot be made: {error.strerror or error}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            os.close(file)
            raise _taken(instance, path) from None
    return lambda: os.close(file)


def _hold_session(database: Database, instance: str) -> Callable[[], None]:
    """An advisory lock of a connection that stays open."""
    number = int.from_bytes(hashlib.sha256(b"flyball " + instance.encode()).digest()[:8], "big", signed=True)
    with translated(database.where):
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # its session ends with it, not in the pool
        if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(number))).scalar():
            connection.close()
            raise _taken(instance, database.where)
    return connection.close


def _taken(instance: str, where: str) -> InvalidArgument:
    return InvalidArgument("instance", f"a server named {instance} uses {where}; end it, or give this one another name")
