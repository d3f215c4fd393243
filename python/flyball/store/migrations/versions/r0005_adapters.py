"""Adapters, and how each became what it is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("share", sa.Integer()),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_adapters_projects"),
        sa.PrimaryKeyConstraint("project_id", "digest", name="pk_adapters"),
        sa.UniqueConstraint("project_id", "name", name="uq_adapters_name"),
    )
    for state in ("active", "canary"):
        op.create_index(
            f"ix_adapters_{state}",
            "adapters",
            ["project_id", "fingerprint"],
            unique=True,
            sqlite_where=sa.text(f"state = '{state}'"),
            postgresql_where=sa.text(f"state = '{state}'"),
        )
    op.create_table(
        "adapter_events",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("reason_id", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "digest"], ["adapters.project_id", "adapters.digest"], name="fk_adapter_events_adapters"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_adapter_events_projects"),
        sa.PrimaryKeyConstraint("project_id", "sequence", name="pk_adapter_events"),
    )
    op.create_index("ix_adapter_events_digest", "adapter_events", ["project_id", "digest", "sequence"])
    op.add_column("requests", sa.Column("adapter", sa.Text()))
    op.add_column("requests", sa.Column("arm", sa.Text()))
    op.add_column("requests", sa.Column("decode_cycles", sa.BigInteger()))
    op.create_index(
        "ix_requests_arm",
        "requests",
        ["project_id", "created"],
        sqlite_where=sa.text("arm IS NOT NULL"),
        postgresql_where=sa.text("arm IS NOT NULL"),
    )
