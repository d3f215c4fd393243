"""Opening: where, how, in which state; and what goes wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from flyball import errors
from flyball.store import Request, Store, migrate, schema
from flyball.store.database import Database, parsed_url
from tests.python.store.conftest import OpenStore, Postgres

NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "next", "{newest}"
def upgrade() -> None:
    op.add_column("requests", sa.Column("later", sa.Text()))
    op.execute("UPDATE requests SET later = 'was ' || state")
    {more}
"""


def test_a_new_database_has_the_default_project(store: Store) -> None:
    assert store.projects() == ["default"]
    assert store.project().name == "default"
    store.create_project("other")
    assert store.projects() == ["default", "other"]
    for name in ("other", "", "a\0"):
        with pytest.raises(errors.InvalidArgument, match="name"):
            store.create_project(name)
    with pytest.raises(errors.NotFound, match="nobody: no project has this name"):
        store.project("nobody")


def test_what_is_stored_is_there_at_the_next_opening(open_store: OpenStore) -> None:
    with open_store() as store:
        store.project().requests.begin(Request(id="r1", api="native", model="demo"))
    assert open_store(instance=None).project().requests.get("r1")


def test_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Store.open(tmp_path / "a" / "b.sqlite", instance="one") as store:
            store.project().keys.create("laptop")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("b.sqlite", "b.sqlite-wal", "b.sqlite-shm", "b.sqlite-one.lock"), 0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_without_a_url_it_is_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open() as store:
        assert store.where == str(tmp_path / "state" / "flyball" / "store.sqlite")
    monkeypatch.setattr("flyball.files.state_folder", lambda: None)
    with pytest.raises(errors.InvalidArgument, match="url: is needed"):
        Store.open()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must be a path"),
        (7, "must be a path"),
        ("mysql://a/b", "Flyball stores in sqlite or postgresql"),
        ("postgresql+psycopg2://a/b", "Flyball stores in sqlite or postgresql"),
        ("http://", "is no database URL|stores in"),
        ("postgresql://a:b@c:port/d", "is no database URL"),
        ("sqlite://", "must name an SQLite file"),
        ("sqlite:///:memory:", "must name an SQLite file"),
        ("sqlite:///a?mode=ro", "must name an SQLite file"),
    ],
)
def test_bad_urls(url: str, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        Store.open(url)


def test_urls_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("a.sqlite", b"a.sqlite", Path("a.sqlite"), "sqlite:///a.sqlite", f"sqlite:///{tmp_path}/a.sqlite"):
        assert parsed_url(url).database == str(tmp_path / "a.sqlite")
    for url in ("postgresql://a/b", "postgresql+psycopg://a/b"):
        assert parsed_url(url).drivername == "postgresql+psycopg"
    database = Database("postgresql://me:secret@host/name")
    assert database.where == "postgresql+psycopg://me:***@host/name"


def _is_in_the_schema(name: str | None, kind: str, _: object) -> bool:
    """Indexes of texts are each database's own way, which the schema has no words for."""
    return kind not in ("table", "index") or not (name or "").startswith("memory_index")


def test_the_revisions_make_the_schema(open_store: OpenStore) -> None:
    with open_store()._database.reading() as connection:
        options = {"version_table": "flyball_version", "include_name": _is_in_the_schema}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata) == []


def test_every_table_belongs_to_projects() -> None:
    assert all(next(iter(table.primary_key)).name == "project_id" for table in schema.metadata.sorted_tables)


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """next_revision("...") adds one that ends with this statement."""

    def add(more: str = "") -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(migrate.FOLDER, folder, dirs_exist_ok=True)
        newest = max(path.name[1:5] for path in folder.glob("versions/r*.py"))
        (folder / "versions" / "r9999_next.py").write_text(NEXT.format(newest=newest, more=more))
        monkeypatch.setattr(migrate, "FOLDER", folder)

    return add


def test_an_earlier_revision_is_brought_up_with_its_rows(
    open_store: OpenStore, next_revision: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store() as store:
        store.project().requests.begin(Request(id="r1", api="native", model="demo"))
        store.project().requests.finish("r1", "done")
    this = migrate.FOLDER
    next_revision("")
    with open_store()._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT id, later FROM requests").all() == [("r1", "was done")]
    monkeypatch.setattr(migrate, "FOLDER", this)
    with pytest.raises(
        errors.Unsupported, match=r"is of a newer Flyball: its schema is next, this one knows \d{4}; inst"
    ):
        open_store(instance="two")


def test_a_revision_that_fails_changes_nothing(
    open_store: OpenStore, next_revision: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store() as store:
        store.project().requests.begin(Request(id="r1", api="native", model="demo"))
    this = migrate.FOLDER
    next_revision("op.execute('DROP TABLE nothing')")
    with pytest.raises(errors.InternalError, match="nothing"):
        open_store()
    monkeypatch.setattr(migrate, "FOLDER", this)
    assert open_store().project().requests.get("r1")


def test_the_database_of_another_program_is_left_alone(url: str, open_store: OpenStore) -> None:
    database = Database(url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id INTEGER)")
    with pytest.raises(
        errors.Unsupported, match=r"tables of another program \(customers\); give Flyball a database of"
    ):
        open_store()
    with database.reading() as connection:
        assert sa.inspect(connection).get_table_names() == ["customers"]
    database.close()


def test_many_open_an_empty_database_at_once(open_store: OpenStore) -> None:
    failures: list[BaseException] = []

    def opening() -> None:
        try:
            assert open_store(instance=None).projects() == ["default"]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=opening) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_server_is_alone_with_its_name(open_store: OpenStore) -> None:
    store = open_store(instance="one")
    with pytest.raises(errors.InvalidArgument, match=r"instance: a server named one uses .*; end it, or"):
        open_store(instance="one")
    open_store(instance="two")
    open_store(instance=None)
    store.close()
    store.close()
    open_store(instance="one")


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65, 7, "a\n"])
def test_bad_names_of_servers(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="instance: is"):
        Store.open(tmp_path / "a", instance=name)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a"]


def test_a_locked_database(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a", busy_seconds=0.05) as store:
        other = sqlite3.connect(tmp_path / "a", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Unavailable, match="a: is locked by another program; end it, or try again"):
            store.project().keys.create("laptop")
        assert store.project().keys.all() == []  # readers go on
        other.execute("ROLLBACK")
        other.close()
        store.project().keys.create("laptop")


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a") as store:
        receipts = store.project().receipts
        receipts.put("r1", "{}")
        with store._database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(errors.FileError, match="has no room left: free space"):
            receipts.put("r2", "x" * 10_000_000)
        assert receipts.get("r1")
        assert receipts.get("r2") is None


@pytest.mark.parametrize("content", [b"no database at all, but long enough for a header" * 100, b"SQLite format 3\0"])
def test_what_is_no_database_is_told_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(errors.FormatError, match="a: is damaged, or no database; restore a backup"):
        Store.open(path)
    assert path.read_bytes() == content


def test_a_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Store.open(path) as store:
        for number in range(200):
            store.project().receipts.put(f"r{number}", "x" * 1000)
    raw = bytearray(path.read_bytes())
    raw[40_000:-4096] = b"\xff" * len(raw[40_000:-4096])
    path.write_bytes(raw)
    with pytest.raises(errors.FormatError, match="is damaged"), Store.open(path) as store:
        list(store.project().receipts.between(0, 1 << 62))


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, message in (("folder", "is not a regular file"), ("file/a", "cannot be made"), ("x" * 300, "cannot be")):
        with pytest.raises(errors.FileError, match=message):
            Store.open(tmp_path / path)
    with pytest.raises(errors.FileError, match="not a regular file"):
        Store.open("/dev/null")


AS_NOBODY = """
import os, sys
from flyball.store import Store
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Store.open(sys.argv[1]).project().keys.create("laptop")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_database_that_cannot_be_written() -> None:
    """As a user who may not: root may everything."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        Store.open(path).close()
        path.chmod(0o444)
        os.chmod(folder, 0o555)
        for name, message in (
            (path, "a: cannot be"),
            (Path(folder) / "b", "b: cannot be made: Permission denied; give"),
        ):
            done = subprocess.run([sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, check=False)
            assert done.stdout.startswith("FileError"), done.stdout + done.stderr
            assert message in done.stdout
        os.chmod(folder, 0o755)


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    url = f"postgresql://me:secret@/name?host={tmp_path}"
    with pytest.raises(errors.Unavailable, match="does not answer; check that the server runs") as error:
        Store.open(url)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


def test_databases_and_users_that_do_not_exist(postgres: Postgres) -> None:
    with pytest.raises(errors.Unavailable, match='database "absent" does not exist'):
        Store.open(postgres.url("absent"))
    with pytest.raises(errors.Unavailable, match='role "stranger" does not exist'):
        Store.open(postgres.url(user="stranger"))


def test_a_user_without_rights(postgres: Postgres) -> None:
    postgres.run("CREATE ROLE reader LOGIN")
    url = postgres.new_database().replace(f"//{postgres.user}@", "//reader@")
    with pytest.raises(errors.FileError, match="has no schema that this user may use"):
        Store.open(url)
    postgres.run("GRANT USAGE ON SCHEMA " + url.rsplit("%3D", 1)[1] + " TO reader")
    with pytest.raises(errors.FileError, match="denies this user; grant"):
        Store.open(url)


def test_a_lock_that_is_held_too_long(postgres: Postgres) -> None:
    url = postgres.new_database()
    with Store.open(url) as one, Store.open(url, busy_seconds=0.05) as two:
        one.project().requests.begin(Request(id="r1", api="native", model="demo"))
        with one._database.writing() as connection:
            connection.execute(sa.update(schema.requests).values(error="x"))
            with pytest.raises(errors.Unavailable, match="is locked by another program"):
                two.project().requests.finish("r1", "done")


def test_a_server_that_was_restarted_is_found_again(postgres: Postgres) -> None:
    with Store.open(postgres.new_database()) as store:
        store.project().keys.create("laptop")
        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        store.project().keys.create("laptop")


def test_more_threads_than_connections(open_store: OpenStore) -> None:
    project = open_store().project()
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            project.receipts.put(f"r{number}", "{}")
            assert project.receipts.get(f"r{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(project.receipts.between(0, 1 << 62))) == 40
