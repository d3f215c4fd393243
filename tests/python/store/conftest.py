"""Databases for the store: an SQLite file, and a PostgreSQL server that runs for the session."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from flyball.store import Project, Store

OpenStore = Callable[..., Store]
_SETTINGS = {  # nothing of it has to survive
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "autovacuum": "off",
}


@dataclass
class Clock:
    """Milliseconds that pass when a test says so."""

    now: int = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Postgres:
    """A running server: its socket's folder, its superuser, and fresh databases."""

    folder: Path
    user: str
    command: list[str]
    numbers: Iterator[int] = field(default_factory=count)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        _wait_for(self.folder, self.process)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it, whoever is connected; SIGQUIT ends it at once, with all transactions that run."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def url(self, database: str = "postgres", user: str | None = None) -> str:
        return f"postgresql://{user or self.user}@/{database}?host={self.folder}"

    def run(self, statement: str) -> None:
        engine = sa.create_engine(self.url().replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def new_database(self) -> str:
        """A schema of its own is as empty as a database, and made at once."""
        name = f"store_{next(self.numbers)}"
        self.run(f"CREATE SCHEMA {name}")
        return self.url() + f"&options=-csearch_path%3D{name}"


def _program(name: str) -> str | None:
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return shutil.which(name) or (found[-1] if found else None)


def _as_user() -> tuple[str, list[str]]:
    """PostgreSQL refuses root; and a server outlives no killed test."""
    me = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() != 0:
        return me, ["setpriv", "--pdeathsig", "KILL"]
    user = pwd.getpwnam("nobody")
    ids = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    return user.pw_name, ["setpriv", *ids, "--pdeathsig", "KILL"]


@contextmanager
def running_postgres(**settings: str) -> Iterator[Postgres]:
    """A server of its own: a socket in a temporary folder, no port. `settings` beside, or instead of, _SETTINGS."""
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="flyball-pg-"))  # a socket's path is at most 107 bytes long
    user, prefix = _as_user()
    shutil.chown(folder, user)
    try:
        made = subprocess.run(
            [*prefix, initdb, "-D", folder / "data", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, check=False, cwd=folder,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        words = [word for name, value in (_SETTINGS | settings).items() for word in ("-c", f"{name}={value}")]
        postgres = Postgres(folder, user, [*prefix, server, "-D", str(folder / "data"), "-k", str(folder), *words])
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server of this session's own."""
    with running_postgres() as server:
        yield server


def _wait_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """The server writes `ready` into the last line of its pid file."""
    while process.poll() is None:
        pid_file = folder / "data" / "postmaster.pid"
        if pid_file.exists() and pid_file.read_text().rstrip().endswith("ready"):
            return
        time.sleep(0.02)
    pytest.fail((folder / "log").read_text())


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that does not exist yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'store.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_store(url: str, clock: Clock) -> Iterator[OpenStore]:
    """open_store(...) opens the test's database; all stores are closed after the test."""
    stores: list[Store] = []

    def opened(**options: object) -> Store:
        stores.append(Store.open(url, **{"clock": clock, "instance": "one", **options}))  # type: ignore[arg-type]
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()


@pytest.fixture
def project(store: Store) -> Project:
    return store.project()
