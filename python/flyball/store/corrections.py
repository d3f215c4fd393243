"""What users said of routes: this text should have been that intent's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .schema import route_corrections as corrections
from .scope import Scope, found, record

MOST_TEXT = 2000  # characters
_MOST = 1000  # in a project: each is looked at whenever routes are learned


@dataclass(frozen=True)
class RouteCorrection:
    """A text and its intent; a text has one, the last that was said."""

    id: str
    text: str
    intent: str
    created: int


class RouteCorrections:
    """The corrections of routes in a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put(self, text: str, intent: str) -> RouteCorrection:
        """Store one in the place of an earlier one of the same text. Raises InvalidArgument for too many."""
        text = checks.text("text", text.strip(), MOST_TEXT)
        id = _id(text)
        new = RouteCorrection(id, text, checks.text("intent", intent), self._scope.clock())
        with self._scope.database.writing() as connection:
            is_known = connection.execute(self._scope.select(corrections, corrections.c.id == id)).first() is not None
            if not is_known and (connection.execute(self._scope.count(corrections)).scalar() or 0) >= _MOST:
                raise InvalidArgument("text", f"the project has {_MOST} corrections already; remove old ones")
            self._scope.replace(connection, corrections, vars(new))
        return new

    def remove(self, text: str) -> None:
        """Forget what was said of a text. Raises NotFound."""
        id = _id(text.strip())
        with self._scope.database.writing() as connection:
            n = connection.execute(self._scope.delete(corrections, corrections.c.id == id)).rowcount
        found(n or None, "correction", id)

    def all(self) -> list[RouteCorrection]:
        """All of them, the oldest first."""
        wanted = self._scope.select(corrections).order_by(corrections.c.created, corrections.c.id)
        with self._scope.database.reading() as connection:
            return [record(RouteCorrection, row) for row in connection.execute(wanted).mappings()]

    def version(self) -> tuple[int, int]:
        """Changes with them: their number, and when the last one came."""
        columns = (sa.func.count(), sa.func.coalesce(sa.func.max(corrections.c.created), 0))
        with self._scope.database.reading() as connection:
            n, newest = connection.execute(self._scope.select(corrections).with_only_columns(*columns)).one()
        return int(n), int(newest)


def _id(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
