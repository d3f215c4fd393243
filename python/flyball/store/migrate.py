"""Brings a database to the newest schema: the revisions in migrations/versions, in one transaction."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ..errors import Unsupported
from . import isolation
from .database import Database

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x666C7962616C6C  # of PostgreSQL, while a server migrates; any number that others hardly take
_VERSION_TABLE = "flyball_version"


def migrate(database: Database) -> None:
    """Run the revisions that the database lacks: all of them in an empty one, none in one that is current.

    Raises Unsupported for the database of a newer Flyball or of another program.
    """
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with database.writing() as connection:
        if not database.is_sqlite:  # SQLite's writer is alone already
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        if _current(connection, database.where, scripts) == scripts.get_current_head():
            return
        if not database.is_sqlite:
            isolation.lift(connection)
        config.attributes["connection"] = connection
        with EnvironmentContext(config, scripts, fn=lambda rev, _: scripts._upgrade_revs("head", rev)):
            scripts.run_env()
        if not database.is_sqlite:
            isolation.enforce(connection)


def _current(connection: sa.Connection, where: str, scripts: ScriptDirectory) -> str | None:
    options = {"version_table": _VERSION_TABLE}
    current = MigrationContext.configure(connection, opts=options).get_current_revision()
    if current is None and (names := sa.inspect(connection).get_table_names()):
        raise Unsupported(where, f"has tables of another program ({names[0]}); give Flyball a database of its own")
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise Unsupported(
            where,
            f"is of a newer Flyball: its schema is {current}, this one knows {scripts.get_current_head()}; "
            "install the newer version, or restore a backup",
        )
    return current
