"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="pk_projects"),
        sa.UniqueConstraint("name", name="uq_projects_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger()),
        sa.Column("revoked", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_api_keys_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_hint", "api_keys", ["hint"])
    op.create_table(
        "batches",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("input_file_id", sa.Text(), nullable=False),
        sa.Column("output_file_id", sa.Text()),
        sa.Column("error_file_id", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text()),
        sa.Column("errors", sa.Text()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("in_progress_at", sa.BigInteger()),
        sa.Column("finalizing_at", sa.BigInteger()),
        sa.Column("completed_at", sa.BigInteger()),
        sa.Column("failed_at", sa.BigInteger()),
        sa.Column("expired_at", sa.BigInteger()),
        sa.Column("cancelling_at", sa.BigInteger()),
        sa.Column("cancelled_at", sa.BigInteger()),
        sa.Column("leader", sa.Text()),
        sa.Column("lead_until", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_batches_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_batches"),
    )
    op.create_index("ix_batches_created", "batches", ["project_id", "created", "id"])
    op.create_index("ix_batches_state", "batches", ["project_id", "state"])
    op.create_table(
        "feedback",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("rating", sa.Text()),
        sa.Column("correction", sa.LargeBinary()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_feedback_projects"),
        sa.PrimaryKeyConstraint("project_id", "request_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_created", "feedback", ["project_id", "created", "request_id"])
    op.create_table(
        "files",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_files_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_files"),
    )
    op.create_index("ix_files_created", "files", ["project_id", "created", "id"])
    op.create_table(
        "first_token_times",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_first_token_times_projects"),
        sa.PrimaryKeyConstraint("project_id", "day", "fingerprint", "bucket", name="pk_first_token_times"),
    )
    op.create_table(
        "performance",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("n_answers", sa.BigInteger(), nullable=False),
        sa.Column("n_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("n_generated_tokens", sa.BigInteger(), nullable=False),
        sa.Column("prefill_cycles", sa.BigInteger(), nullable=False),
        sa.Column("decode_cycles", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_performance_projects"),
        sa.PrimaryKeyConstraint("project_id", "day", "fingerprint", name="pk_performance"),
    )
    op.create_table(
        "receipts",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("json", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_receipts_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_receipts"),
    )
    op.create_index("ix_receipts_created", "receipts", ["project_id", "created", "id"])
    op.create_index("ix_receipts_expires", "receipts", ["project_id", "expires"])
    op.create_table(
        "requests",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("api", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("key_id", sa.Text()),
        sa.Column("instance", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger()),
        sa.Column("first_token", sa.BigInteger()),
        sa.Column("finished", sa.BigInteger()),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("n_prompt_tokens", sa.BigInteger()),
        sa.Column("n_cached_tokens", sa.BigInteger()),
        sa.Column("n_generated_tokens", sa.BigInteger()),
        sa.Column("digest", sa.Text()),
        sa.Column("request_key", sa.Text()),
        sa.Column("seed", sa.BigInteger()),
        sa.Column("idempotency_key", sa.Text()),
        sa.Column("prompt", sa.LargeBinary()),
        sa.Column("answer", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_requests_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_requests"),
    )
    op.create_index("ix_requests_created", "requests", ["project_id", "created", "id"])
    op.create_index(
        "ix_requests_idempotency",
        "requests",
        ["project_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL AND state IN ('waiting', 'running', 'done')"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL AND state IN ('waiting', 'running', 'done')"),
    )
    op.create_index(
        "ix_requests_open",
        "requests",
        ["project_id", "instance"],
        sqlite_where=sa.text("finished IS NULL"),
        postgresql_where=sa.text("finished IS NULL"),
    )
    op.create_table(
        "batch_items",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("response", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("claim", sa.Text()),
        sa.Column("claimed_by", sa.Text()),
        sa.Column("claimed_until", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["project_id", "batch_id"],
            ["batches.project_id", "batches.id"],
            name="fk_batch_items_batches",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_batch_items_projects"),
        sa.PrimaryKeyConstraint("project_id", "batch_id", "line", name="pk_batch_items"),
        sa.UniqueConstraint("project_id", "batch_id", "custom_id", name="uq_batch_items_custom_id"),
    )
    op.create_index("ix_batch_items_state", "batch_items", ["project_id", "batch_id", "state", "line"])
    op.create_table(
        "file_chunks",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "file_id"], ["files.project_id", "files.id"], name="fk_file_chunks_files", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_file_chunks_projects"),
        sa.PrimaryKeyConstraint("project_id", "file_id", "number", name="pk_file_chunks"),
    )
    op.execute("INSERT INTO projects (name, created) VALUES ('default', 0)")
