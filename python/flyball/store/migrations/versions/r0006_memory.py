"""What is remembered of users, and their documents."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "memory_counts",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("n_prompts", sa.BigInteger(), nullable=False),
        sa.Column("n_recalled", sa.BigInteger(), nullable=False),
        sa.Column("n_asked_examples", sa.BigInteger(), nullable=False),
        sa.Column("n_examples", sa.BigInteger(), nullable=False),
        sa.Column("n_repeats", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_memory_counts_projects"),
        sa.PrimaryKeyConstraint("project_id", "day", name="pk_memory_counts"),
    )
    op.create_table(
        "memory_deletions",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("json", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_memory_deletions_projects"),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_memory_deletions"),
    )
    op.create_table(
        "memory_items",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text()),
        sa.Column("name", sa.LargeBinary()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("n_characters", sa.BigInteger(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("replaced", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_memory_items_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_memory_items"),
    )
    op.create_index("ix_memory_items_created", "memory_items", ["project_id", "owner", "created", "id"])
    op.create_table(
        "memory_chunks",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=False),
        sa.Column("index_row", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["project_id", "item_id"],
            ["memory_items.project_id", "memory_items.id"],
            name="fk_memory_chunks_memory_items",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_memory_chunks_projects"),
        sa.PrimaryKeyConstraint("project_id", "item_id", "number", name="pk_memory_chunks"),
        sa.UniqueConstraint("index_row", name="uq_memory_chunks_index_row"),
    )
    op.create_index("ix_memory_chunks_owner", "memory_chunks", ["project_id", "owner"])
    op.create_table(
        "memory_vectors",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "item_id", "number"],
            ["memory_chunks.project_id", "memory_chunks.item_id", "memory_chunks.number"],
            name="fk_memory_vectors_memory_chunks",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_memory_vectors_projects"),
        sa.PrimaryKeyConstraint("project_id", "item_id", "number", "fingerprint", name="pk_memory_vectors"),
    )
    if op.get_bind().dialect.name == "sqlite":
        _index_in_sqlite()
    else:
        _index_in_postgresql()


def _index_in_sqlite() -> None:
    """An index of trigrams that holds no text of its own; triggers keep it equal to the rows, cascades included."""
    op.execute(
        "CREATE VIRTUAL TABLE memory_index USING fts5("
        "folded, content='memory_chunks', content_rowid='index_row', tokenize='trigram case_sensitive 1')"
    )
    op.execute(
        "CREATE TRIGGER memory_index_insert AFTER INSERT ON memory_chunks BEGIN "
        "INSERT INTO memory_index(rowid, folded) VALUES (new.index_row, new.folded); END"
    )
    op.execute(
        "CREATE TRIGGER memory_index_delete AFTER DELETE ON memory_chunks BEGIN "
        "INSERT INTO memory_index(memory_index, rowid, folded) VALUES ('delete', old.index_row, old.folded); END"
    )


def _index_in_postgresql() -> None:
    """With the extension pg_trgm; where this user may not make it, a search reads the pieces of its user."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError:
        return
    schema = connection.exec_driver_sql(
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
        "WHERE extname = 'pg_trgm'"
    ).scalar_one()
    op.execute(f"CREATE INDEX memory_index_folded ON memory_chunks USING gin (folded {schema}.gin_trgm_ops)")
