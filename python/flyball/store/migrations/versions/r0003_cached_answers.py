"""Answers that are given again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "cached_answers",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_cached_answers_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_cached_answers"),
    )
    op.create_index("ix_cached_answers_expires", "cached_answers", ["project_id", "expires"])
    op.create_index("ix_cached_answers_used", "cached_answers", ["project_id", "used", "id", "n_bytes"])
    op.add_column("requests", sa.Column("cached_from", sa.Text()))
