"""The second line behind a scope's conditions: PostgreSQL's row-level security, and a schema that tells nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flyball.errors import Error
from flyball.store import Project, Quota, Store, schema
from flyball.store.isolation import ACROSS, enforce, lift
from tests.python.store.conftest import Postgres
from tests.python.store.test_projects import fill

TABLES = schema.metadata.sorted_tables
ACROSS_PROJECTS = {  # what is unique beyond a project, and tells nothing to one
    "uq_projects_name",  # only whoever runs the server makes projects
    "uq_memory_chunks_index_row",  # numbers that each project has a range of its own for
}


@pytest.fixture
def app_url(postgres: Postgres) -> Iterator[str]:
    """A database whose user is no superuser, as an operator's should be."""
    name = f"app_{next(postgres.numbers)}"
    postgres.run(f"CREATE ROLE {name} LOGIN NOSUPERUSER NOBYPASSRLS")
    postgres.run(f"CREATE DATABASE {name} OWNER {name}")
    yield postgres.url(name, name)
    postgres.run(f"DROP DATABASE {name}")
    postgres.run(f"DROP ROLE {name}")


@pytest.fixture
def store(app_url: str) -> Iterator[Store]:
    with Store.open(app_url, instance="one") as opened:
        yield opened


@pytest.fixture
def two(store: Store) -> tuple[Project, Project]:
    """Two projects that have a row in every table."""
    other = store.create_project("theirs")
    fill(store.project())
    fill(other)
    return store.project(), other


def seen(store: Store, project: int | None) -> dict[str, set[int]]:
    """Whose rows a statement without a condition gets."""
    with store._database.reading(project) as connection:
        return {table.name: set(connection.execute(sa.select(table.c.project_id)).scalars()) for table in TABLES}


def test_every_table_of_projects_is_guarded(store: Store) -> None:
    guarded = (
        "SELECT relname, relrowsecurity, relforcerowsecurity, polname FROM pg_class LEFT JOIN pg_policy "
        "ON polrelid = pg_class.oid AND polname = 'flyball_project' AND polqual IS NOT NULL "
        "AND polwithcheck IS NOT NULL WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    )
    with store._database.reading() as connection:
        rows = {row[0]: tuple(row[1:]) for row in connection.exec_driver_sql(guarded)}
    assert {table.name for table in TABLES} == set(rows) - {"flyball_version"}
    for table in TABLES:
        assert rows[table.name] == (True, True, "flyball_project"), table.name


def test_a_statement_that_asks_for_all_gets_its_own(store: Store, two: tuple[Project, Project]) -> None:
    assert all(rows == {1} for rows in seen(store, 1).values())
    assert all(rows == {2} for rows in seen(store, 2).values())
    assert all(rows == set() for rows in seen(store, None).values())
    across = seen(store, ACROSS)
    assert {name: rows for name, rows in across.items() if rows} == {"projects": {1, 2}, "api_keys": {1, 2}}


@pytest.mark.parametrize("project", [1, None, ACROSS])
def test_no_row_of_another_is_written(store: Store, two: tuple[Project, Project], project: int | None) -> None:
    for table in TABLES:
        row = {column.name: None for column in table.c} | {"project_id": 2}
        with store._database.writing(project) as connection:
            assert connection.execute(sa.delete(table).where(table.c.project_id == 2)).rowcount == 0
            moved = sa.update(table).where(table.c.project_id == 2).values(project_id=2)
            assert connection.execute(moved).rowcount == 0
        with pytest.raises(Error), store._database.writing(project) as connection:
            connection.execute(sa.insert(table), row)
    assert all(rows == {2} for rows in seen(store, 2).values())


def test_the_project_ends_with_its_transaction(store: Store, two: tuple[Project, Project]) -> None:
    """The pool gives the connection to whoever comes next."""
    for _ in range(3):
        assert store.project().requests.get("r1") is not None
        assert all(rows == set() for rows in seen(store, None).values())
    with store.together():
        two[1].requests.finish("r1", "failed")
        assert two[0].requests.get("r1") is not None  # each call is about its own, in one transaction, too
        with store._database.reading() as connection:
            assert connection.execute(sa.select(schema.requests)).all() == []


def test_all_that_a_store_does_works_without_superuser(store: Store, two: tuple[Project, Project]) -> None:
    new = two[1].keys.create("laptop")
    found = store.authenticate(new.secret)
    assert found is not None
    assert found.project.name == "theirs"
    assert store.has_keys()
    assert store.projects() == ["default", "theirs"]
    two[1].quotas.set(Quota(bytes=5))
    store.delete_project("theirs")
    assert store.projects() == ["default"]
    assert two[0].requests.get("r1") is not None


def test_a_later_revision_sees_all_rows_and_guards_its_tables(app_url: str, store: Store) -> None:
    fill(store.create_project("theirs"))
    with store._database.writing() as connection:
        lift(connection)
        assert connection.execute(sa.update(schema.requests).values(task="x")).rowcount == 1
        connection.exec_driver_sql("CREATE TABLE later (project_id integer, x integer)")
        connection.exec_driver_sql("INSERT INTO later VALUES (1, 1), (2, 2)")
        enforce(connection)
    with store._database.reading(2) as connection:
        assert connection.exec_driver_sql("SELECT x FROM later").scalars().all() == [2]


def test_what_is_unique_is_so_in_a_project() -> None:
    """Else a refused insert would say what another project has."""
    for table in TABLES:
        keys = [*table.constraints, *(index for index in table.indexes if index.unique)]
        for key in keys:
            if isinstance(key, sa.ForeignKeyConstraint):
                assert "project_id" in key.column_keys, key
            elif isinstance(key, sa.UniqueConstraint | sa.PrimaryKeyConstraint | sa.Index):
                assert "project_id" in {column.name for column in key.columns} or _name(key) in ACROSS_PROJECTS, key


def _name(key: sa.Constraint | sa.Index) -> str:
    return str(key.name or f"uq_{key.table.name}_{next(iter(key.columns)).name}")  # type: ignore[union-attr]
