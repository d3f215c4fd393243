"""What users, and programs that check, said of answers: one vote of each on each answer, the last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .examples import Example, Examples, id_of
from .question import as_json, of_json
from .schema import RATINGS, SOURCES, feedback, requests
from .scope import Scope, found, record
from .tasks import PerformanceAtTasks

LOCAL = "local"  # the voter where nobody is told apart
MOST_A_DAY = 1000  # votes of one voter: whoever has more is a program, or poisons
_DAY_MS = 86_400_000
_BEST_SCORE, _GOOD_SCORE, _BAD_SCORE = 5, 4, 2
_SAID = ("rating", "score", "correction", "reason")
_KNOWN = ("request_id", "model", "fingerprint", "adapter", "question", "answer", "family")
_SHARED = ("question", "reason", "family", "source", "voter", "answer_id", "model", "fingerprint", "adapter")


class TooMany(InvalidArgument):
    """A voter has reached the bound of a day."""

    code = "too_many"


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """A judgment of an answer.

    `answer_id` is the answer's digest, so that what was judged can be computed again; see `answer_id()` for answers
    without one. `question` is as question.as_json writes it. `score` is 1 (bad) to 5 (good).
    """

    answer_id: str
    voter: str = LOCAL
    source: str = "api"
    rating: str | None = None
    score: int | None = None
    correction: str | None = None
    reason: str | None = None
    family: str | None = None
    request_id: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    adapter: str | None = None
    question: str | None = None
    answer: str | None = None
    created: int = 0

    @property
    def verdict(self) -> str | None:
        """good or bad: the rating, else what the score says, else bad where there is a correction."""
        if self.rating is None and self.score is not None:
            return "good" if self.score >= _GOOD_SCORE else "bad" if self.score <= _BAD_SCORE else None
        return "bad" if self.rating is None and self.correction is not None else self.rating

    @property
    def is_withdrawn(self) -> bool:
        """Whether nothing is said."""
        return all(getattr(self, name) is None for name in _SAID)


def answer_id(question: str | None, answer: str | None, request_id: str | None = None) -> str:
    """What names an answer without a digest: the request's id, else a hash of question and answer."""
    if request_id is not None:
        return f"request:{request_id}"
    text = json.dumps([question, answer]).encode()
    return f"text:{hashlib.sha256(text).hexdigest()}"


class FeedbackOfUsers:
    """The feedback of a project. What can become an example is proposed as one at once."""

    def __init__(self, scope: Scope, examples: Examples) -> None:
        self._scope = scope
        self._examples = examples

    def put(self, new: Feedback, *, merge: bool = False, most_a_day: int | None = MOST_A_DAY) -> Feedback:
        """Store it in the place of this voter's earlier vote on this answer; one that says nothing withdraws it.

        What is known of the answer stays known; `merge`: what was said of it stays as well where nothing new is.
        Raises TooMany for a voter with `most_a_day` votes since midnight (UTC).
        """
        new = _checked(new, self._scope.clock())
        with self._scope.database.writing() as connection:
            old = self._one(connection, new.answer_id, new.voter)
            if old is not None:
                kept = (*_KNOWN, *(_SAID if merge else ()))
                new = replace(new, **{name: getattr(old, name) for name in kept if getattr(new, name) is None})
            if new.is_withdrawn:
                connection.execute(self._scope.delete(feedback, *_of(new.answer_id, new.voter)))
            else:
                if old is None and most_a_day is not None:
                    self._refuse_more(connection, new.voter, most_a_day)
                self._scope.replace(connection, feedback, vars(new))
            self._examples.follow(connection, (new.answer_id, new.voter), _example(new))
            if new.request_id is not None:
                before = None if old is None else old.verdict
                now = None if new.is_withdrawn else new.verdict
                PerformanceAtTasks(self._scope).judged(connection, new.request_id, before, now)
        return new

    def rate(self, new: Feedback, *, merge: bool = False, most_a_day: int | None = MOST_A_DAY) -> Feedback:
        """The same for a request that the store knows: its digest, model and, where they are kept, texts complete it.

        Raises NotFound. The feedback stays when the request is purged.
        """
        request_id = new.request_id or ""
        with self._scope.database.reading() as connection:
            chosen = self._scope.select(requests, requests.c.id == request_id)
            row = found(connection.execute(chosen).mappings().one_or_none(), "request", request_id)
        prompt = None if row["prompt"] is None else as_json(row["prompt"])
        known = {
            "answer_id": row["digest"] or answer_id(None, None, request_id),
            "model": row["model"],
            "fingerprint": row["fingerprint"],
            "adapter": row["adapter"],
            "question": prompt,
            "answer": row["answer"],
        }
        missing = {name: value for name, value in known.items() if not getattr(new, name)}
        return self.put(replace(new, **missing), merge=merge, most_a_day=most_a_day)

    def get(self, answer_id: str, voter: str = LOCAL) -> Feedback | None:
        """A voter's word on an answer."""
        with self._scope.database.reading() as connection:
            return self._one(connection, answer_id, voter)

    def of_answer(self, answer_id: str) -> list[Feedback]:
        """All votes on an answer, oldest first."""
        return self._all(feedback.c.answer_id == answer_id)

    def of_request(self, request_id: str) -> list[Feedback]:
        """All votes that were given to a request's id, oldest first."""
        return self._all(feedback.c.request_id == request_id)

    def between(self, start: int, end: int) -> Iterator[Feedback]:
        """Feedback given at `start` or later and before `end`, in time order; read while it is used."""
        start, end = checks.span(start, end)
        where = (feedback.c.created >= start, feedback.c.created < end)
        pages = self._scope.pages(feedback, *where, key=("created", "answer_id", "voter"))
        return (record(Feedback, row) for row in pages)

    def _all(self, where: sa.ColumnElement[bool]) -> list[Feedback]:
        return [
            record(Feedback, row) for row in self._scope.pages(feedback, where, key=("created", "answer_id", "voter"))
        ]

    def _one(self, connection: sa.Connection, answer_id: str, voter: str) -> Feedback | None:
        return self._scope.one(connection, feedback, *_of(answer_id, voter), kind=Feedback)

    def _refuse_more(self, connection: sa.Connection, voter: str, most: int) -> None:
        midnight = self._scope.clock() // _DAY_MS * _DAY_MS
        today = (feedback.c.voter == voter, feedback.c.created >= midnight)
        n = connection.execute(self._scope.count(feedback).where(*today)).scalar() or 0
        if n >= most:
            raise TooMany("voter", f"{voter} has given {n} votes today, at most {most} count; go on tomorrow")


def _of(answer_id: str, voter: str) -> tuple[sa.ColumnElement[bool], ...]:
    return feedback.c.answer_id == answer_id, feedback.c.voter == voter


def _checked(new: Feedback, now: int) -> Feedback:
    for name in ("answer_id", "voter"):
        checks.text(name, getattr(new, name))
    for name in ("request_id", "fingerprint", "adapter"):
        checks.optional(name, getattr(new, name))
    for name in ("correction", "reason", "family", "model", "answer"):
        checks.user_text(name, getattr(new, name))
    checks.one_of("source", new.source, SOURCES)
    if new.rating is not None:
        checks.one_of("rating", new.rating, RATINGS)
    if new.score is not None:
        checks.integer("score", new.score, 1, _BEST_SCORE)
    if new.question is not None:
        as_json(of_json(new.question))
    return replace(new, created=checks.integer("created", new.created) or now)


def _example(given: Feedback) -> Example | None:
    """What a vote teaches: the right answer, or that this one is right or wrong; None: nothing to learn from."""
    verdict = given.verdict
    if given.question is None or verdict is None or given.is_withdrawn:
        return None
    if given.correction:
        kind, answer, rejected = "correction", given.correction, given.answer
    elif verdict == "bad":  # where the task failed there is no answer, and a person may write the right one
        kind, answer, rejected = "bad", "", given.answer
    elif given.answer:
        kind, answer, rejected = "good", given.answer, None
    else:
        return None
    same = {name: getattr(given, name) for name in _SHARED}
    new = Example(id="", kind=kind, answer=answer, rejected=rejected, **same)
    return replace(new, id=id_of(new))
