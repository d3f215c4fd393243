"""Feedback by answer, and the examples that come of it."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    before = _read()
    op.drop_index("ix_feedback_created", "feedback")
    op.drop_table("feedback")
    feedback = op.create_table(
        "feedback",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("answer_id", sa.Text(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rating", sa.Text()),
        sa.Column("score", sa.Integer()),
        sa.Column("correction", sa.LargeBinary()),
        sa.Column("reason", sa.LargeBinary()),
        sa.Column("family", sa.LargeBinary()),
        sa.Column("model", sa.LargeBinary()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("adapter", sa.Text()),
        sa.Column("question", sa.LargeBinary()),
        sa.Column("answer", sa.LargeBinary()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_feedback_projects"),
        sa.PrimaryKeyConstraint("project_id", "answer_id", "voter", name="pk_feedback"),
    )
    op.create_index("ix_feedback_created", "feedback", ["project_id", "created", "answer_id", "voter"])
    op.create_index("ix_feedback_request", "feedback", ["project_id", "request_id"])
    op.create_index("ix_feedback_voter", "feedback", ["project_id", "voter", "created"])
    if before:
        op.bulk_insert(feedback, before)
    op.create_table(
        "examples",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("question", sa.LargeBinary(), nullable=False),
        sa.Column("question_key", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("rejected", sa.LargeBinary()),
        sa.Column("reason", sa.LargeBinary()),
        sa.Column("family", sa.LargeBinary()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("answer_id", sa.Text()),
        sa.Column("model", sa.LargeBinary()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("adapter", sa.Text()),
        sa.Column("origin", sa.LargeBinary()),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("held_out", sa.BigInteger()),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_examples_projects"),
        sa.PrimaryKeyConstraint("project_id", "id", name="pk_examples"),
    )
    op.create_index("ix_examples_created", "examples", ["project_id", "created", "id"])
    op.create_index("ix_examples_state", "examples", ["project_id", "state", "created", "id"])
    op.create_index("ix_examples_question", "examples", ["project_id", "question_key"])
    op.create_index("ix_examples_answer", "examples", ["project_id", "answer_id", "voter"])


def _read() -> list[dict[str, Any]]:
    """What was there, the last word on each answer: two requests may have one, and each had feedback of its own."""
    rows = op.get_bind().execute(
        sa.text(
            "SELECT f.project_id, f.request_id, f.rating, f.correction, f.created, r.digest, r.key_id, r.model,"
            " r.fingerprint, r.prompt, r.answer FROM feedback f LEFT JOIN requests r"
            " ON r.project_id = f.project_id AND r.id = f.request_id ORDER BY f.created, f.request_id"
        )
    )
    last: dict[tuple[int, str, str], dict[str, Any]] = {}
    for row in rows.mappings():
        answer_id, voter = row["digest"] or f"request:{row['request_id']}", row["key_id"] or "local"
        prompt = None if row["prompt"] is None else bytes(row["prompt"]).decode("utf-8", "surrogatepass")
        last[row["project_id"], answer_id, voter] = {
            **{name: row[name] for name in ("project_id", "request_id", "rating", "correction", "created")},
            **{name: row[name] for name in ("fingerprint", "answer")},
            "answer_id": answer_id,
            "voter": voter,
            "source": "api",
            "model": None if row["model"] is None else row["model"].encode(),
            "question": None if prompt is None else json.dumps(prompt).encode(),
        }
    return list(last.values())
