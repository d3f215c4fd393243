"""The order in which examples were decided, so that readers take what is new alone."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("examples", sa.Column("revision", sa.BigInteger()))
    op.execute(
        "UPDATE examples SET revision = decided.place FROM (SELECT project_id, id, row_number() OVER "
        "(PARTITION BY project_id ORDER BY changed, id) AS place FROM examples WHERE version > 1) AS decided "
        "WHERE examples.project_id = decided.project_id AND examples.id = decided.id"
    )
    op.create_index("ix_examples_revision", "examples", ["project_id", "revision", "id"])
