"""How models do, by kind of task."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "model_performance_metrics",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("n_answers", sa.BigInteger(), nullable=False),
        sa.Column("n_ok", sa.BigInteger(), nullable=False),
        sa.Column("n_judged", sa.BigInteger(), nullable=False),
        sa.Column("n_good", sa.BigInteger(), nullable=False),
        sa.Column("n_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("n_generated_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cycles", sa.BigInteger(), nullable=False),
        sa.Column("ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_model_performance_metrics_projects"),
        sa.PrimaryKeyConstraint(
            "project_id", "day", "task", "model", "fingerprint", "adapter", name="pk_model_performance_metrics"
        ),
    )
    op.create_table(
        "route_corrections",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_route_corrections_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_route_corrections"),
    )
    op.create_index("ix_route_corrections_created", "route_corrections", ["project_id", "created", "id"])
    op.add_column("requests", sa.Column("task", sa.Text()))
