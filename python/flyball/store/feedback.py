"""What users said of answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import checks
from .schema import feedback, requests
from .scope import Scope, found, record

RATINGS = ("good", "bad")


@dataclass(frozen=True)
class Feedback:
    """A rating, a better answer, or both."""

    request_id: str
    rating: str | None
    correction: str | None
    created: int


class FeedbackOfUsers:
    """The feedback of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put(self, request_id: str, rating: str | None, correction: str | None = None) -> Feedback:
        """Store the feedback of a request in the place of an earlier one; with neither part it is withdrawn.

        Raises NotFound for an unknown request. The feedback stays when the request is purged.
        """
        if rating is not None:
            checks.one_of("rating", rating, RATINGS)
        new = Feedback(request_id, rating, checks.user_text("correction", correction), self._scope.clock())
        of_request = feedback.c.request_id == request_id
        with self._scope.database.writing() as connection:
            known = connection.execute(self._scope.select(requests, requests.c.id == request_id)).one_or_none()
            found(known, "request", request_id)
            if rating is None and correction is None:
                connection.execute(self._scope.delete(feedback, of_request))
            else:
                self._scope.replace(connection, feedback, vars(new))
        return new

    def get(self, request_id: str) -> Feedback | None:
        """The feedback of a request."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, feedback, feedback.c.request_id == request_id, kind=Feedback)

    def between(self, start: int, end: int) -> Iterator[Feedback]:
        """Feedback given at `start` or later and before `end`, in time order; read while it is used."""
        start, end = checks.span(start, end)
        where = (feedback.c.created >= start, feedback.c.created < end)
        return (record(Feedback, row) for row in self._scope.pages(feedback, *where, key=("created", "request_id")))
