"""Examples: questions with right and wrong answers, from a proposal to a person's decision about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ..errors import Error, InvalidArgument
from . import checks
from .question import as_json, key_of, of_json
from .schema import EXAMPLE_STATES, KINDS, examples, projects
from .scope import Scope, found, record


class Conflict(Error):
    """Somebody else has changed this meanwhile; nothing was overwritten."""

    code = "conflict"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row of training data.

    `answer` is the right one, `rejected` the wrong one; "" and None: not known. `source` is that of the feedback, or
    synthetic or import. `family` is a label, `origin` says where a synthetic one is from. `version` grows with each
    change; `held_out` is when it was first held out: from then on it never trains. `revision` is the place of the last
    change among those of the project's examples; None: it is as it was proposed.
    """

    id: str
    kind: str
    question: str
    answer: str
    rejected: str | None = None
    reason: str | None = None
    family: str | None = None
    source: str = "api"
    voter: str = "local"
    answer_id: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    adapter: str | None = None
    origin: str | None = None
    state: str = "proposed"
    version: int = 1
    question_key: str = ""
    created: int = 0
    changed: int = 0
    changed_by: str = ""
    held_out: int | None = None
    revision: int | None = None


def id_of(example: Example) -> str:
    """From what the example is and who gave it: proposing it again changes nothing."""
    named = (example.kind, example.question, example.answer, example.rejected, example.voter, example.answer_id)
    return f"ex-{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]}"


class Examples:
    """The examples of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def project_id(self) -> int:
        """The number of the project."""
        return self._scope.project_id

    def propose(self, new: Example) -> bool:
        """Store a proposal; an empty `id` is made from it. False: it is there already."""
        with self._scope.database.writing() as connection:
            return self._insert(connection, new)

    def follow(self, connection: sa.Connection, vote: tuple[str, str], new: Example | None) -> None:
        """What a vote (answer_id, voter) proposes now, in the place of what it proposed and nobody has touched."""
        answer_id, voter = vote
        mine = (examples.c.answer_id == answer_id, examples.c.voter == voter)
        untouched = (examples.c.state == "proposed", examples.c.version == 1)
        connection.execute(self._scope.delete(examples, *mine, *untouched))
        if new is not None:
            self._insert(connection, new)

    def get(self, id: str) -> Example | None:
        """The example of this id."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, examples, examples.c.id == id, kind=Example)

    def all(self, states: Collection[str] = EXAMPLE_STATES) -> Iterator[Example]:
        """Those in these states, oldest first; read while they are used."""
        known = [checks.one_of("state", state, EXAMPLE_STATES) for state in states]
        pages = self._scope.pages(examples, examples.c.state.in_(known), key=("created", "id"))
        return (record(Example, row) for row in pages)

    def changed_since(self, revision: int) -> Iterator[Example]:
        """Those that were decided or edited after this revision (0: ever), in that order; read while they are used."""
        pages = self._scope.pages(examples, examples.c.revision > revision, key=("revision", "id"))
        return (record(Example, row) for row in pages)

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        counted = dict.fromkeys(EXAMPLE_STATES, 0)
        with self._scope.database.reading() as connection:
            for state, n in connection.execute(self._scope.count(examples, examples.c.state)):
                counted[state] = n
        return counted

    def change(
        self,
        id: str,
        version: int,
        *,
        by: str,
        state: str | None = None,
        answer: str | None = None,
        rejected: str | None = None,
        family: str | None = None,
    ) -> Example:
        """Decide or edit; None leaves as it is. Raises NotFound, InvalidArgument, and Conflict for another version."""
        with self._scope.database.writing() as connection:
            of_id = examples.c.id == id
            old = found(self._scope.one(connection, examples, of_id, kind=Example), "example", id)
            new = _edited(old, answer, rejected, family)
            if state is not None:
                new = self._decided(connection, new, checks.one_of("state", state, EXAMPLE_STATES))
            new = replace(new, version=old.version + 1, changed=self._scope.clock(), changed_by=checks.text("by", by))
            new = replace(new, revision=self._next_revision(connection))
            changed = self._scope.update(examples, of_id, examples.c.version == version).values(**vars(new))
            if old.version != version or connection.execute(changed).rowcount != 1:
                raise Conflict(id, f"is at version {old.version}, not {version}: somebody changed it; look again")
        return new

    def _next_revision(self, connection: sa.Connection) -> int:
        """One change of a project at a time: a reader that has seen a revision has seen all before it."""
        connection.execute(self._scope.select(projects).with_for_update(key_share=True))
        last = self._scope.select(examples).with_only_columns(sa.func.max(examples.c.revision))
        return (connection.execute(last).scalar() or 0) + 1

    def _insert(self, connection: sa.Connection, new: Example) -> bool:
        new = _checked(new)
        now = self._scope.clock()
        made = {"id": new.id or id_of(new), "question_key": key_of(new.question), "changed_by": new.voter}
        made |= {"state": "proposed"}
        stored = replace(new, **made, version=1, created=now, changed=now, held_out=None, revision=None)
        return self._scope.insert_new(connection, examples, vars(stored))

    def _decided(self, connection: sa.Connection, new: Example, state: str) -> Example:
        if state == "held_out":
            return replace(new, state=state, held_out=new.held_out or self._scope.clock())
        if state == "approved":
            same = (examples.c.question_key == new.question_key, examples.c.held_out.is_not(None))
            if connection.execute(self._scope.count(examples).where(*same)).scalar():
                raise InvalidArgument("state", "cannot be approved: this question is held out, and so never trains")
            if not (new.answer or new.rejected):
                raise InvalidArgument("answer", "is needed: the example has neither a right nor a wrong answer")
        return replace(new, state=state)


def _edited(old: Example, answer: str | None, rejected: str | None, family: str | None) -> Example:
    values: dict[str, Any] = {"answer": answer, "rejected": rejected, "family": family}
    values = {name: checks.user_text(name, value) for name, value in values.items() if value is not None}
    if answer and answer != old.answer and old.kind in ("good", "bad"):  # a person now says what is right
        values = {"kind": "correction", "rejected": old.rejected or old.answer or None} | values
    return replace(old, **values)


def _checked(new: Example) -> Example:
    checks.one_of("kind", new.kind, KINDS)
    checks.text("voter", new.voter)
    checks.text("source", new.source)
    for name in ("answer_id", "fingerprint", "adapter"):
        checks.optional(name, getattr(new, name))
    for name in ("answer", "rejected", "reason", "family", "model", "origin"):
        checks.user_text(name, getattr(new, name))
    as_json(of_json(new.question))
    return new
