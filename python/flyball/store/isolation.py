"""Row-level security of PostgreSQL: the second line, behind the conditions that a scope puts into every statement.

Each transaction says whose rows it is about; a statement that forgot to ask for its project's then sees no others'.
Superusers and roles with BYPASSRLS see all (docs/projects.md). SQLite has nothing like it.
"""

from __future__ import annotations

import sqlalchemy as sa

ACROSS = 0  # instead of a project's number: names of projects and hashes of keys, to be read alone
_ACROSS_TABLES = ("projects", "api_keys")
_CURRENT = "nullif(current_setting('flyball.project', true), '')::integer"
_ENTER = sa.text("SELECT set_config('flyball.project', :project, true)")
_TABLES = sa.text(
    "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid WHERE attname = 'project_id' "
    "AND relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace AND NOT attisdropped ORDER BY relname"
)


def enter(connection: sa.Connection, project: int | None) -> None:
    """The transaction is about this project, ACROSS, or None: about no rows of projects."""
    connection.execute(_ENTER, {"project": "" if project is None else str(project)})


def lift(connection: sa.Connection) -> None:
    """Let the tables' owner see all rows until enforce(), as revisions need."""
    for table in connection.execute(_TABLES).scalars():
        connection.exec_driver_sql(f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY')


def enforce(connection: sa.Connection) -> None:
    """Give every table that has project_id its policies, for its owner as well."""
    own = f"project_id = {_CURRENT}"
    for table in connection.execute(_TABLES).scalars().all():
        statements = [
            f'DROP POLICY IF EXISTS flyball_project ON "{table}"',
            f'CREATE POLICY flyball_project ON "{table}" USING ({own}) WITH CHECK ({own})',
            f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
            f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
        ]
        if table in _ACROSS_TABLES:
            statements += [
                f'DROP POLICY IF EXISTS flyball_across ON "{table}"',
                f'CREATE POLICY flyball_across ON "{table}" FOR SELECT USING ({_CURRENT} = {ACROSS})',
            ]
        for statement in statements:
            connection.exec_driver_sql(statement)
