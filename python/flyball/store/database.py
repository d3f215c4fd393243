"""The engine, its transactions, and its errors in Flyball's terms."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ..errors import FileError, InvalidArgument
from ..paths import AnyPath, expanded
from . import isolation
from .faults import translated

BUSY_SECONDS = 10
_POOL = 8


class Database:
    """One SQLite file or PostgreSQL database; safe for threads."""

    def __init__(self, url: AnyPath, busy_seconds: float = BUSY_SECONDS) -> None:
        parsed = parsed_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.where = str(parsed.database) if self.is_sqlite else parsed.render_as_string(hide_password=True)
        # SQLite has one writer, and waiting for it by polling starves some threads: a lock serves them in turn.
        self._writer = threading.Lock() if self.is_sqlite else None
        self._busy_seconds = busy_seconds
        self._joined = threading.local()  # the connection of this thread's together()
        if self.is_sqlite:
            _make_private_file(Path(self.where))
        self.engine = self._engine(parsed)
        if self.is_sqlite:
            try:
                self._use_wal()
            except BaseException:
                self.close()
                raise

    def _engine(self, url: sa.URL) -> sa.Engine:
        busy_ms = int(self._busy_seconds * 1000)
        pool: dict[str, Any] = {"pool_size": _POOL, "max_overflow": _POOL, "pool_timeout": self._busy_seconds}
        if self.is_sqlite:
            engine = sa.create_engine(url, connect_args={"timeout": self._busy_seconds}, **pool)
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
            return engine
        given = url.query.get("options", "")  # a search_path, for one
        options = f"{given if isinstance(given, str) else ' '.join(given)} -c lock_timeout={busy_ms}"
        connect = {
            "connect_timeout": max(2, int(self._busy_seconds)),
            "tcp_user_timeout": max(10_000, busy_ms),  # a server that vanished is an error, not a wait for hours
            "options": options,
            "client_encoding": "utf8",
        }
        try:
            return sa.create_engine(url, connect_args=connect, pool_pre_ping=True, **pool)
        except ImportError:
            raise InvalidArgument(
                "url", "PostgreSQL needs the package psycopg: pip install 'flyball[postgres]'"
            ) from None

    def _use_wal(self) -> None:
        """Readers and the writer do not wait for each other; the mode stays in the file."""
        with translated(self.where), self.engine.connect() as connection:
            raw = connection.connection.cursor()
            mode = raw.execute("PRAGMA journal_mode").fetchone()
            if mode != ("wal",):
                mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != ("wal",):
            raise FileError(self.where, "cannot be a write-ahead database on this file system; put it on a local disk")

    @contextmanager
    def reading(self, project: int | None = None) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database.

        `project`: whose rows it is about, isolation.ACROSS, or None for none, where PostgreSQL enforces that.
        """
        if (joined := getattr(self._joined, "connection", None)) is not None:
            self._enter(joined, project)
            yield joined
            return
        with translated(self.where), self.engine.connect() as connection:
            if not self.is_sqlite:  # where each statement would see its own
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                self._enter(connection, project)
                yield connection

    @contextmanager
    def writing(self, project: int | None = None) -> Iterator[sa.Connection]:
        """A transaction that is committed at the end, or not at all. `project` as in reading()."""
        if (joined := getattr(self._joined, "connection", None)) is not None:
            self._enter(joined, project)
            yield joined
            return
        with self._turn(), translated(self.where), self.engine.connect() as connection:
            connection = connection.execution_options(flyball_writes=True)
            with connection.begin():
                self._enter(connection, project)
                yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread reads and writes until the end, in one transaction: what raises in it undoes all of it."""
        with self.writing() as connection:
            self._joined.connection = connection
            try:
                yield
            finally:
                del self._joined.connection

    def checkpoint(self) -> bool:
        """Move SQLite's write-ahead log into the file, and empty it. False: a reader needs it for longer than we wait.

        Until then the log may have what was deleted.
        """
        with self._turn(), translated(self.where), self.engine.connect() as connection:
            raw = connection.connection.cursor()  # which begins no transaction: in one it would be refused
            busy, _, _ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _enter(self, connection: sa.Connection, project: int | None) -> None:
        if not self.is_sqlite:
            isolation.enter(connection, project)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._writer is None:
            yield
        else:
            with self._writer:
                yield

    def close(self) -> None:
        self.engine.dispose()


@dataclass(frozen=True)
class OneProject:
    """A database whose transactions are all about one project."""

    database: Database
    project_id: int

    @property
    def is_sqlite(self) -> bool:
        return self.database.is_sqlite

    def reading(self) -> AbstractContextManager[sa.Connection]:
        return self.database.reading(self.project_id)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        return self.database.writing(self.project_id)

    def checkpoint(self) -> bool:
        return self.database.checkpoint()


def parsed_url(url: AnyPath) -> sa.URL:
    """A database URL, or the path of an SQLite file. Raises InvalidArgument."""
    text = os.fsdecode(url) if isinstance(url, str | bytes | os.PathLike) else ""
    if "://" not in text:
        return sa.URL.create("sqlite", database=os.path.abspath(expanded(url, "url")))
    try:
        parsed = sa.make_url(text)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError, NoSuchModuleError):
        raise InvalidArgument(
            "url", "is no database URL; write sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from None
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise InvalidArgument("url", "must name an SQLite file without options: sqlite:///PATH")
        return sa.URL.create("sqlite", database=os.path.abspath(expanded(parsed.database, "url")))
    if parsed.drivername not in ("postgresql", "postgresql+psycopg"):
        raise InvalidArgument("url", f"names {parsed.drivername}; Flyball stores in sqlite or postgresql")
    return parsed.set(drivername="postgresql+psycopg")


def _make_private_file(path: Path) -> None:
    """SQLite gives its -wal and -shm files the mode of the database."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and not path.is_file():
            raise FileError(str(path), "is not a regular file; give the database another name")
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            str(path), f"cannot be made: {error.strerror or error}; give a path in a writable folder"
        ) from None


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, schema changes among them
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a power cut loses no committed row either
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten


def _begin_sqlite(connection: sa.Connection) -> None:
    """A writer takes its lock at once: one that began as a reader could not wait for it later."""
    writes = connection.get_execution_options().get("flyball_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
