"""Whether a project allows a plugin: by its name, and by the very code that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..errors import Error
from .found import Found
from .pool import quarantined
from .process import Allowed


class Refused(Error):
    """A plugin that a project has not allowed, or that is not there as it was allowed."""

    code = "plugin_refused"


class Decision(Protocol):
    """What a store has of a plugin."""

    @property
    def sha256(self) -> str:
        """Of the code that was allowed."""

    @property
    def state(self) -> str:
        """allowed, forbidden or quarantined."""

    @property
    def added(self) -> Mapping[str, Any]:
        """`hosts` and `config` of the project's owner."""

    @property
    def changed(self) -> int:
        """When it was decided."""


def permitted(name: str, found: Found, decision: Decision | None) -> Allowed:
    """The plugin as the project allows it. Raises Refused, or Unavailable where it is in quarantine."""
    where, how = f"plugin {name}", f"flyball plugins allow {name} does"
    if decision is None or decision.state == "forbidden":
        raise Refused(where, f"this project has not allowed it; {how}")
    if (plugin := found.plugins.get(name)) is None:
        raise Refused(where, "is not installed here, or was not when the server started")
    if plugin.sha256 != decision.sha256:
        what = f"has changed since it was allowed: it is {plugin.sha256[:16]}, allowed is {decision.sha256[:16]}"
        raise Refused(where, f"{what}; look at it, then {how} what it names")
    if decision.state != "allowed":
        raise quarantined(name)
    added = decision.added
    return Allowed(plugin, tuple(added.get("hosts", ())), added.get("config", {}), decision.changed)
