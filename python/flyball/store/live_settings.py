"""Revisions of the settings that running servers follow: what was changed, by whom, and what was taken back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import chain, checks
from .admin_log import LOCAL, AdminLog
from .examples import Conflict
from .schema import live_settings
from .scope import Scope, found, record

ACTIVE, ROLLED_BACK = "active", "rolled_back"
_MOST_DOCUMENT, _MOST_WHY = 1 << 20, 1000


@dataclass(frozen=True)
class Revision:
    """A whole set of changes to what servers were started with. The newest active one is in force.

    document  JSON of the keys that are changed; watch_seconds: for which a server watches whether it harms
    why       the reason that was given; fault: why it was rolled back
    """

    number: int
    document: str
    who: str
    why: str
    created: int
    watch_seconds: int
    state: str = ACTIVE
    fault: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The values, by key."""
        return dict(json.loads(self.document))


FIRST = Revision(0, "{}", LOCAL, "", 0, 0)  # what servers were started with; it has no row


class LiveSettings:
    """The revisions of a project; servers follow those of the default one."""

    def __init__(self, scope: Scope, log: AdminLog) -> None:
        self._scope = scope
        self._log = log

    def current(self) -> Revision:
        """The one in force."""
        with self._scope.database.reading() as connection:
            return self._current(connection)

    def get(self, number: int) -> Revision:
        """A revision. Raises NotFound."""
        if number == FIRST.number:
            return FIRST
        with self._scope.database.reading() as connection:
            one = live_settings.c.number == checks.integer("revision", number)
            return found(self._scope.one(connection, live_settings, one, kind=Revision), "revision", str(number))

    def latest(self, most: int) -> list[Revision]:
        """So many, the newest first."""
        newest = self._scope.select(live_settings).order_by(live_settings.c.number.desc()).limit(most)
        with self._scope.database.reading() as connection:
            return [record(Revision, row) for row in connection.execute(newest).mappings()]

    def add(
        self, settings: Mapping[str, Any], expected: int, by: str, why: str = "", watch_seconds: int = 0
    ) -> Revision:
        """Put a revision in force, and into the log. Raises Conflict unless the one in force is the expected one."""
        text = json.dumps(settings, sort_keys=True)
        with self._scope.database.writing() as connection:
            chain.lock(self._scope, connection)
            before = self._current(connection)
            if before.number != expected:
                raise Conflict("settings", f"are at revision {before.number} now, not {expected}; look at them again")
            last = self._scope.select(live_settings).with_only_columns(sa.func.max(live_settings.c.number))
            made = Revision(
                int(connection.execute(last).scalar() or 0) + 1,
                checks.text("settings", text, _MOST_DOCUMENT),
                checks.text("who", by),
                checks.text("reason", why, _MOST_WHY, least=0),
                self._scope.clock(),
                checks.integer("watch_seconds", watch_seconds),
            )
            self._scope.insert(connection, live_settings, [vars(made)])
            about = {"revision": made.number, "why": why, "changes": changes(before.settings, made.settings)}
            self._log.add(connection, by, "settings.change", "settings", about)
        return made

    def roll_back(self, number: int, by: str, fault: str) -> bool:
        """Take the revision in force back, which the log tells. False: it is not in force, and nothing was changed."""
        with self._scope.database.writing() as connection:
            chain.lock(self._scope, connection)
            before = self._current(connection)
            if before.number != number or before == FIRST:
                return False
            values = {"state": ROLLED_BACK, "fault": checks.text("fault", fault, _MOST_WHY)}
            connection.execute(self._scope.update(live_settings, live_settings.c.number == number).values(**values))
            now = self._current(connection)
            about = {"revision": number, "to": now.number, "why": fault}
            about["changes"] = changes(before.settings, now.settings)
            self._log.add(connection, by, "settings.roll_back", "settings", about)
        return True

    def _current(self, connection: sa.Connection) -> Revision:
        active = self._scope.select(live_settings, live_settings.c.state == ACTIVE)
        newest = active.order_by(live_settings.c.number.desc()).limit(1)
        row = connection.execute(newest).mappings().one_or_none()
        return FIRST if row is None else record(Revision, row)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """[before, now] of each key that differs; null: what the server was started with."""
    keys = sorted({*before, *now})
    return {key: [before.get(key), now.get(key)] for key in keys if before.get(key) != now.get(key)}
