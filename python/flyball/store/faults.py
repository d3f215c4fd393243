"""Errors of databases in Flyball's terms: what happened, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ..errors import Error, FileError, FormatError, InternalError, Unavailable

_BUSY = "is locked by another program; end it, or try again"
_FULL = "has no room left: free space on its disk; nothing that was stored is lost"
_READ_ONLY = "cannot be written; give its file, its folder and this user the permission, or name another database"
_CORRUPT = "is damaged, or no database; restore a backup, or move it away and Flyball makes a new one"

_SQLITE: dict[int, tuple[type[Error], str]] = {
    sqlite3.SQLITE_BUSY: (Unavailable, _BUSY),
    sqlite3.SQLITE_LOCKED: (Unavailable, _BUSY),
    sqlite3.SQLITE_FULL: (FileError, _FULL),
    sqlite3.SQLITE_READONLY: (FileError, _READ_ONLY),
    sqlite3.SQLITE_PERM: (FileError, _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (FileError, "cannot be opened; give its file and folder to this user, or name another"),
    sqlite3.SQLITE_IOERR: (FileError, "cannot be read or written: its disk reports an error"),
    sqlite3.SQLITE_CORRUPT: (FormatError, _CORRUPT),
    sqlite3.SQLITE_NOTADB: (FormatError, _CORRUPT),
}
_POSTGRES: dict[str, tuple[type[Error], str]] = {  # by SQLSTATE, or its class
    "53100": (FileError, _FULL),
    "25006": (FileError, "is read-only, as a standby is; name the primary server"),
    "42501": (FileError, "denies this user; grant the rights to create and change tables in its schema"),
    "55P03": (Unavailable, _BUSY),
    "28": (Unavailable, "refuses this user; check name and password, and the server's pg_hba.conf"),
    "3D": (Unavailable, "does not exist; make it with createdb"),
    "3F": (FileError, "has no schema that this user may use; make one, or grant the use of it"),
    "40": (Unavailable, "had two transactions that waited for each other; try again"),
    "53": (Unavailable, "has no connection or memory left; try again, or raise the server's limits"),
    "57": (Unavailable, "is shutting down or ended the connection; try again"),
    "08": (Unavailable, "does not answer; check that the server runs and the URL names it"),
    "XX": (FormatError, _CORRUPT),
}


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise a block's errors as Flyball's, without their cause: that has texts of users."""
    try:
        yield
    except PoolTimeout:
        raise Unavailable(where, "has all its connections in use; try again") from None
    except DBAPIError as error:
        raise _of(where, error) from None
    except SQLAlchemyError as error:
        raise InternalError(where, f"{type(error).__name__}: {_first_line(error)}") from None
    except sqlite3.Error as error:
        raise _of_sqlite(where, error) from None


def _of(where: str, error: DBAPIError) -> Error:
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(where, error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    for n in (5, 2):
        if known := _POSTGRES.get(state[:n]):
            kind, what = known
            return kind(where, what)
    if not state:  # libpq's own words: no connection was made, or it broke
        return Unavailable(where, f"does not answer; check that the server runs and the URL names it ({_said(error)})")
    return InternalError(where, f"SQLSTATE {state}: {_said(error)}")


def _of_sqlite(where: str, error: sqlite3.Error) -> Error:
    code = getattr(error, "sqlite_errorcode", 0)
    if known := _SQLITE.get(code & 0xFF):  # the rest of an extended code says more than a user can act on
        kind, what = known
        return kind(where, what)
    return InternalError(where, f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {_first_line(error)}")


def _said(error: DBAPIError) -> str:
    return _first_line(error.orig)


def _first_line(error: BaseException | None) -> str:
    """SQLAlchemy adds the statement and its parameters on further lines: texts of users stay out of messages."""
    return str(error).strip().split("\n", 1)[0]
