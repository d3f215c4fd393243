"""Who a key is for and what it may do, limits, and the log of administrative acts."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("user", sa.Text()))
    op.add_column("api_keys", sa.Column("role", sa.Text(), nullable=False, server_default="owner"))
    op.add_column("api_keys", sa.Column("scopes", sa.Text()))
    op.add_column("requests", sa.Column("n_reserved", sa.BigInteger()))
    op.create_table(
        "limits",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("requests_per_minute", sa.BigInteger()),
        sa.Column("concurrent", sa.BigInteger()),
        sa.Column("tokens_per_day", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_limits_projects"),
        sa.PrimaryKeyConstraint("project_id", name="pk_limits"),
    )
    op.create_table(
        "admin_log",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Integer()),
        sa.Column("json", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_admin_log_projects"),
        sa.PrimaryKeyConstraint("project_id", "number", name="pk_admin_log"),
    )
