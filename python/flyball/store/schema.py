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
RATINGS = ("good", "bad")
SOURCES = ("chat", "repl", "page", "api", "python", "guardian", "task")
EXAMPLE_STATES = ("proposed", "approved", "rejected", "held_out")
KINDS = ("correction", "good", "bad", "synthetic", "replay")
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
    Column("user", Name),
    _text("role", null=False),
    _text("scopes"),  # none: all of the role
)

limits = Table(  # quotas: one row at most; what is none has no limit
    "limits",
    metadata,
    _project(),
    _integer("requests_per_minute"),
    _integer("concurrent"),
    _integer("tokens_per_day"),
    _integer("bytes"),
)

admin_log = Table(
    "admin_log",
    metadata,
    _project(),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("act", null=False),
    Column("subject", Name, nullable=False),
    Column("subject_id", sa.Integer),  # the number of a project that was made or deleted: none is given twice
    _text("json", null=False),
    _text("hash", null=False),
)

live_settings = Table(  # in the default project: servers follow the newest that is active
    "live_settings",
    metadata,
    _project(),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _text("document", null=False),
    _text("who", null=False),
    _text("why", null=False),
    _integer("created", null=False),
    _integer("watch_seconds", null=False),
    _text("state", null=False),  # active or rolled_back
    _text("fault"),
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
    _text("cached_from"),  # the id of the request whose answer was given again
    _text("task"),  # that it was routed as
    _text("adapter"),
    _text("arm"),  # of a comparison: canary or control
    _integer("decode_cycles"),
    _integer("n_reserved"),  # prompt and longest answer
)
Index("ix_requests_created", requests.c.project_id, requests.c.created, requests.c.id)
Index("ix_requests_open", requests.c.project_id, requests.c.instance, sqlite_where=sa.text("finished IS NULL"),
      postgresql_where=sa.text("finished IS NULL"))  # fmt: skip
# A key whose request failed, was canceled or interrupted is free again: its client repeats with it.
IDEMPOTENCY_HOLDS = sa.text("idempotency_key IS NOT NULL AND state IN ('waiting', 'running', 'done')")
Index("ix_requests_idempotency", requests.c.project_id, requests.c.idempotency_key, unique=True,
      sqlite_where=IDEMPOTENCY_HOLDS, postgresql_where=IDEMPOTENCY_HOLDS)  # fmt: skip
Index("ix_requests_arm", requests.c.project_id, requests.c.created, sqlite_where=sa.text("arm IS NOT NULL"),
      postgresql_where=sa.text("arm IS NOT NULL"))  # fmt: skip

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

feedback = Table(  # one row of each voter on each answer
    "feedback",
    metadata,
    _project(),
    _id("answer_id"),
    _id("voter"),
    Column("request_id", Name),
    _text("source", null=False),
    _text("rating"),
    Column("score", sa.Integer),
    Column("correction", UserText),
    Column("reason", UserText),
    Column("family", UserText),
    Column("model", UserText),
    _text("fingerprint"),
    _text("adapter"),
    Column("question", UserText),
    Column("answer", UserText),
    _integer("created", null=False),
)
Index("ix_feedback_created", feedback.c.project_id, feedback.c.created, feedback.c.answer_id, feedback.c.voter)
Index("ix_feedback_request", feedback.c.project_id, feedback.c.request_id)
Index("ix_feedback_voter", feedback.c.project_id, feedback.c.voter, feedback.c.created)

examples = Table(  # what may become training data
    "examples",
    metadata,
    _project(),
    _id(),
    _text("state", null=False),
    Column("version", sa.Integer, nullable=False),
    _text("kind", null=False),
    Column("question", UserText, nullable=False),
    _text("question_key", null=False),
    Column("answer", UserText, nullable=False),
    Column("rejected", UserText),
    Column("reason", UserText),
    Column("family", UserText),
    _text("source", null=False),
    _text("voter", null=False),
    _text("answer_id"),
    Column("model", UserText),
    _text("fingerprint"),
    _text("adapter"),
    Column("origin", UserText),
    _integer("created", null=False),
    _integer("changed", null=False),
    _text("changed_by", null=False),
    _integer("held_out"),  # when it was, if ever
    _integer("revision"),  # grows with each change of any example of the project; none for a proposal
)
Index("ix_examples_created", examples.c.project_id, examples.c.created, examples.c.id)
Index("ix_examples_state", examples.c.project_id, examples.c.state, examples.c.created, examples.c.id)
Index("ix_examples_revision", examples.c.project_id, examples.c.revision, examples.c.id)
Index("ix_examples_question", examples.c.project_id, examples.c.question_key)
Index("ix_examples_answer", examples.c.project_id, examples.c.answer_id, examples.c.voter)

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

cached_answers = Table(  # `id`: the key of the question
    "cached_answers",
    metadata,
    _project(),
    _id(),
    _text("fingerprint", null=False),
    _text("adapter", null=False),
    _integer("n_bytes", null=False),
    _integer("created", null=False),
    _integer("used", null=False),
    _integer("expires", null=False),
    Column("content", LargeBinary, nullable=False),
)
Index("ix_cached_answers_expires", cached_answers.c.project_id, cached_answers.c.expires)
# With all that the search for the least recently used needs, so that it reads no content.
Index("ix_cached_answers_used", cached_answers.c.project_id, cached_answers.c.used, cached_answers.c.id,
      cached_answers.c.n_bytes)  # fmt: skip

model_performance_metrics = Table(
    "model_performance_metrics",
    metadata,
    _project(),
    Column("day", sa.Date, primary_key=True),
    _id("task"),
    _id("model"),
    _id("fingerprint"),
    _id("adapter"),
    _integer("n_answers", null=False),
    _integer("n_ok", null=False),
    _integer("n_judged", null=False),
    _integer("n_good", null=False),
    _integer("n_prompt_tokens", null=False),
    _integer("n_generated_tokens", null=False),
    _integer("cycles", null=False),
    _integer("ms", null=False),
)

route_corrections = Table(  # `id`: SHA-256 of the text
    "route_corrections",
    metadata,
    _project(),
    _id(),
    Column("text", UserText, nullable=False),
    _text("intent", null=False),
    _integer("created", null=False),
)
Index(
    "ix_route_corrections_created", route_corrections.c.project_id, route_corrections.c.created, route_corrections.c.id
)

adapters = Table(
    "adapters",
    metadata,
    _project(),
    _id("digest"),
    Column("name", Name, nullable=False),
    _text("fingerprint", null=False),  # of the model
    _text("parent"),
    _text("state", null=False),
    Column("share", sa.Integer),  # of a canary: percent of the requests
    _text("manifest", null=False),
    _text("path", null=False),
    _integer("created", null=False),
    _integer("changed", null=False),
    UniqueConstraint("project_id", "name", name="uq_adapters_name"),
)
for _state in ("active", "canary"):  # at most one of each for a model
    Index(f"ix_adapters_{_state}", adapters.c.project_id, adapters.c.fingerprint, unique=True,
          sqlite_where=sa.text(f"state = '{_state}'"), postgresql_where=sa.text(f"state = '{_state}'"))  # fmt: skip

adapter_events = Table(
    "adapter_events",
    metadata,
    _project(),
    Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    _text("digest", null=False),
    _text("event", null=False),
    _text("reason_id", null=False),
    _text("evidence", null=False),
    _text("who", null=False),
    _integer("created", null=False),
    sa.ForeignKeyConstraint(["project_id", "digest"], ["adapters.project_id", "adapters.digest"]),
)
Index("ix_adapter_events_digest", adapter_events.c.project_id, adapter_events.c.digest, adapter_events.c.sequence)

memory_items = Table(
    "memory_items",
    metadata,
    _project(),
    _id(),
    Column("owner", Name, nullable=False),
    _text("kind", null=False),
    _text("slot"),
    Column("name", UserText),
    _text("source", null=False),
    _integer("n_characters", null=False),
    _text("salt", null=False),
    _text("hash", null=False),
    _integer("created", null=False),
    _integer("replaced"),
)
Index(
    "ix_memory_items_created",
    memory_items.c.project_id,
    memory_items.c.owner,
    memory_items.c.created,
    memory_items.c.id,
)

memory_chunks = Table(  # the revision makes an index of trigrams for it, as each database has them
    "memory_chunks",
    metadata,
    _project(),
    _id("item_id"),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    Column("owner", Name, nullable=False),
    _integer("start", null=False),
    Column("text", UserText, nullable=False),
    _text("folded", null=False),
    Column("index_row", sa.BigInteger, unique=True),
    sa.ForeignKeyConstraint(
        ["project_id", "item_id"], ["memory_items.project_id", "memory_items.id"], ondelete="CASCADE"
    ),
)
Index("ix_memory_chunks_owner", memory_chunks.c.project_id, memory_chunks.c.owner)

memory_vectors = Table(
    "memory_vectors",
    metadata,
    _project(),
    _id("item_id"),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _id("fingerprint"),
    Column("vector", LargeBinary, nullable=False),
    sa.ForeignKeyConstraint(
        ["project_id", "item_id", "number"],
        ["memory_chunks.project_id", "memory_chunks.item_id", "memory_chunks.number"],
        ondelete="CASCADE",
    ),
)

memory_deletions = Table(
    "memory_deletions",
    metadata,
    _project(),
    Column("number", sa.Integer, primary_key=True, autoincrement=False),
    Column("owner", Name, nullable=False),
    _text("json", null=False),
    _text("hash", null=False),
)

memory_counts = Table(
    "memory_counts",
    metadata,
    _project(),
    Column("day", sa.Date, primary_key=True),
    _integer("n_prompts", null=False),
    _integer("n_recalled", null=False),
    _integer("n_asked_examples", null=False),
    _integer("n_examples", null=False),
    _integer("n_repeats", null=False),
)

plugins = Table(  # what a project's owner decided on each
    "plugins",
    metadata,
    _project(),
    _id("name"),
    _text("sha256", null=False),  # of the code
    _text("state", null=False),  # allowed, forbidden or quarantined
    _text("manifest", null=False),
    _text("settings", null=False),
    _text("who", null=False),
    _text("why"),
    _integer("created", null=False),
    _integer("changed", null=False),
)
