"""Which plugins a project allows, each by its name and the hash of its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import checks
from .schema import plugins
from .scope import Scope, found, record

_MOST_JSON = 1 << 20


@dataclass(frozen=True)
class StoredPlugin:
    """What a project's owner decided on a plugin.

    sha256    of the code that was looked at: no other is run
    manifest  as it was then, JSON
    settings  what the owner added, JSON: `hosts` that it may fetch from, and values of its `config`
    why       it is in quarantine
    """

    name: str
    sha256: str
    state: str
    manifest: str
    settings: str
    who: str
    why: str | None
    created: int
    changed: int

    @property
    def added(self) -> dict[str, Any]:
        """The settings."""
        return dict(json.loads(self.settings))


class Plugins:
    """The plugins of a project. One that has no row is off."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def allow(
        self, name: str, sha256: str, manifest: Mapping[str, Any], settings: Mapping[str, Any], who: str
    ) -> StoredPlugin:
        """Allow this code; what was decided on the name before is replaced."""
        now = self._scope.clock()
        row = {
            "name": checks.text("name", name),
            "sha256": checks.text("sha256", sha256),
            "state": "allowed",
            "manifest": checks.text("manifest", json.dumps(manifest, sort_keys=True), _MOST_JSON),
            "settings": checks.text("settings", json.dumps(settings, sort_keys=True), _MOST_JSON),
            "who": checks.text("who", who),
            "why": None,
            "changed": now,
        }
        with self._scope.database.writing() as connection:
            before = self._scope.one(connection, plugins, plugins.c.name == name, kind=StoredPlugin)
            row["created"] = now if before is None else before.created
            if before is not None:  # a change that servers see as one, within the same millisecond too
                row["changed"] = max(now, before.changed + 1)
            self._scope.replace(connection, plugins, row)
        return record(StoredPlugin, row)

    def forbid(self, name: str, who: str) -> StoredPlugin:
        """It is off from now on. Raises NotFound."""
        with self._scope.database.writing() as connection:
            one = plugins.c.name == name
            values = {"state": "forbidden", "who": checks.text("who", who), "why": None, "changed": self._scope.clock()}
            connection.execute(self._scope.update(plugins, one).values(**values))
            return found(self._scope.one(connection, plugins, one, kind=StoredPlugin), "plugin", name)

    def quarantine(self, name: str, sha256: str, why: str) -> bool:
        """It is off until it is allowed anew. False: this code is not allowed any more anyway."""
        with self._scope.database.writing() as connection:
            where = plugins.c.name == name, plugins.c.sha256 == sha256, plugins.c.state == "allowed"
            values = {"state": "quarantined", "why": checks.text("why", why, 4000), "changed": self._scope.clock()}
            return bool(connection.execute(self._scope.update(plugins, *where).values(**values)).rowcount)

    def get(self, name: str) -> StoredPlugin | None:
        """What was decided on a name."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, plugins, plugins.c.name == name, kind=StoredPlugin)

    def all(self) -> list[StoredPlugin]:
        """All of them, by name."""
        return [record(StoredPlugin, row) for row in self._scope.pages(plugins, key=("name",))]
