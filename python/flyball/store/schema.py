"""The tables. Every row belongs to a project, and project_id leads every primary key.

A change here needs a revision in migrations/versions; the tests compare both. Times are milliseconds since 1970 in UTC:
integers mean the same in every database and every time zone.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, LargeBinary, Table, UniqueConstraint

from .checks import storable

metadata = sa.MetaData(  # named, so that a later revision can change them
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

REQUEST_STATES = ("waiting", "running", "done", "failed", "canceled", "interrupted")
BATCH_STATES = (  # OpenAI's names
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)
ITEM_STATES = ("pending", "claimed", "completed", "failed", "expired", "cancelled")


class UserText(sa.TypeDecorator[str]):
    """Any text that JSON can carry, as bytes: PostgreSQL refuses NUL in its text, and UTF-8 lone surrogates."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else bytes(value).decode("utf-8", "surrogatepass")


class Name(sa.TypeDecorator[str]):
    """The text of an id, which clients name: what no database takes is sought as "", which no row has."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return value if value is None or storable(value) else ""


class Unsigned64(sa.TypeDecorator[int]):
    """An integer below 2**64 in the signed column that both databases have."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        return value if value is None or value < 1 << 63 else value - (1 << 64)

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> int | None:
        return value if value is None or value >= 0 else value + (1 << 64)


def _project() -> Column[int]:
    return Column("project_id", sa.Integer, sa.ForeignKey("projects.project_id"), primary_key=True)


def _id(name: str = "id") -> Column[str]:
    return Column(name, Name, primary_key=True)


def _text(name: str, null: bool = True) -> Column[str]:
    return Column(name, sa.Text, nullable=null)


def _integer(name: str, null: bool = True) -> Column[int]:
    return Column(name, sa.BigInteger, nullable=null)


projects = Table(
    "projects",
    metadata,
    Column("project_id", sa.Integer, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    _integer("created", null=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    _project(),
    _id(),
    _text("name", null=False),
    Column("hint", sa.Text, nullable=False, index=True),  # the first digits of `sha256`
    _text("sha256", null=False),
    _integer("created", null=False),
    _integer("expires"),
    _integer("revoked"),
)

requests = Table(
    "requests",
    metadata,
    _project(),
    _id(),
    _text("api", null=False),
    _text("model", null=False),
    _text("fingerprint"),
    _text("key_id"),
    _text("instance"),
    _text("state", null=False),
    _integer("created", null=False),
    _integer("started"),
    _integer("first_token"),
    _integer("finished"),
    _text("stop_reason"),
    _text("error"),
    _integer("n_prompt_tokens"),
    _integer("n_cached_tokens"),
    _integer("n_generated_tokens"),
    _text("digest"),
    _text("request_key"),
    Column("seed", Unsigned64),
    Column("idempotency_key", Name),
    Column("prompt", UserText),
    Column("answer", UserText),
)
Index("ix_requests_created", requests.c.project_id, requests.c.created, requests.c.id)
Index("ix_requests_open", requests.c.project_id, requests.c.instance, sqlite_where=sa.text("finished IS NULL"),
      postgresql_where=sa.text("finished IS NULL"))  # fmt: skip
# A key whose request failed, was canceled or interrupted is free again: its client repeats with it.
IDEMPOTENCY_HOLDS = sa.text("idempotency_key IS NOT NULL AND state IN ('waiting', 'running', 'done')")
Index("ix_requests_idempotency", requests.c.project_id, requests.c.idempotency_key, unique=True,
      sqlite_where=IDEMPOTENCY_HOLDS, postgresql_where=IDEMPOTENCY_HOLDS)  # fmt: skip

receipts = Table(
    "receipts",
    metadata,
    _project(),
    _id(),
    _text("json", null=False),
    _text("signature"),
    _integer("created", null=False),
    _integer("expires"),
)
Index("ix_receipts_created", receipts.c.project_id, receipts.c.created, receipts.c.id)
Index("ix_receipts_expires", receipts.c.project_id, receipts.c.expires)

feedback = Table(
    "feedback",
    metadata,
    _project(),
    _id("request_id"),
    _text("rating"),
    Column("correction", UserText),
    _integer("created", null=False),
)
Index("ix_feedback_created", feedback.c.project_id, feedback.c.created, feedback.c.request_id)

performance = Table(
    "performance",
    metadata,
    _project(),
    Column("day", sa.Date, primary_key=True),
    _id("fingerprint"),
    _integer("n_answers", null=False),
    _integer("n_prompt_tokens", null=False),
    _integer("n_generated_tokens", null=False),
    _integer("prefill_cycles", null=False),
    _integer("decode_cycles", null=False),
)
first_token_times = Table(  # a row for each bucket of a histogram: servers add to it without reading
    "first_token_times",
    metadata,
    _project(),
    Column("day", sa.Date, primary_key=True),
    _id("fingerprint"),
    Column("bucket", sa.Integer, primary_key=True, autoincrement=False),
    _integer("n", null=False),
)

files = Table(
    "files",
    metadata,
    _project(),
    _id(),
    _text("name", null=False),
    _text("purpose", null=False),
    _integer("n_bytes", null=False),
    _text("sha256"),  # none before the last chunk has arrived
    _integer("created", null=False),
    _integer("expires"),
)
Index("ix_files_created", files.c.project_id, files.c.created, files.c.id)

file_chunks = Table(
    "file_chunks",
    metadata,
    _project(),
    _id("file_id"),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
    sa.ForeignKeyConstraint(["project_id", "file_id"], ["files.project_id", "files.id"], ondelete="CASCADE"),
)

batches = Table(
    "batches",
    metadata,
    _project(),
    _id(),
    _text("endpoint", null=False),
    _text("input_file_id", null=False),
    _text("output_file_id"),
    _text("error_file_id"),
    _text("state", null=False),
    _text("metadata"),
    _text("errors"),
    _integer("created", null=False),
    _integer("expires", null=False),
    *(_integer(f"{state}_at") for state in BATCH_STATES[1:]),
    _text("leader"),
    _integer("lead_until"),
)
Index("ix_batches_created", batches.c.project_id, batches.c.created, batches.c.id)
Index("ix_batches_state", batches.c.project_id, batches.c.state)

batch_items = Table(
    "batch_items",
    metadata,
    _project(),
    _id("batch_id"),
    Column("line", sa.Integer, primary_key=True, autoincrement=False),
    _text("custom_id", null=False),
    _text("request", null=False),
    _text("state", null=False),
    Column("tries", sa.Integer, nullable=False),
    _text("response"),
    _text("error"),
    _text("digest"),
    _text("claim"),
    _text("claimed_by"),
    _integer("claimed_until"),
    sa.ForeignKeyConstraint(["project_id", "batch_id"], ["batches.project_id", "batches.id"], ondelete="CASCADE"),
    UniqueConstraint("project_id", "batch_id", "custom_id", name="uq_batch_items_custom_id"),
)
Index("ix_batch_items_state", batch_items.c.project_id, batch_items.c.batch_id, batch_items.c.state, batch_items.c.line)
