"""New settings of a running server, made ready: all that may fail or takes a while is here, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _core
from ..config.configuration import Setting
from ..engine.model import Model
from ..engine.options import governor_words
from ..errors import InvalidArgument
from ..memory import ModelEmbedder
from ..paths import expanded
from ..store.checks import storable
from ..store.live_settings import Revision
from . import descriptors
from .bodies import kind
from .failures import Failure
from .live_keys import rule_of
from .models import Governor
from .routing import Routing
from .settings import ServeSettings

if TYPE_CHECKING:
    from .server import Server

_GOVERNOR = ("autotune.", "guard.")
_ORIGIN = "live settings"


@dataclass(frozen=True)
class Ready:
    """Settings that can be in force at once. `governor`: what changed of it; `routing`, `embedder`: loaded."""

    revision: Revision
    configuration: Mapping[str, Setting]
    settings: ServeSettings
    governor: Governor
    routing: Routing | None
    embedder: ModelEmbedder | None


class Started:
    """What a server was started with, over which revisions have their values."""

    def __init__(self, configuration: Mapping[str, Setting], settings: ServeSettings) -> None:
        self.configuration = configuration
        self.settings = settings

    def resolve(self, settings: Mapping[str, Any]) -> dict[str, Setting]:
        """Every key with its value. Raises InvalidArgument, or Failure 409 for keys that a running server keeps."""
        for name in settings:
            self.known(name)
        refuse_kept(settings)
        resolved = dict(self.configuration)
        for name, value in settings.items():
            key, read, _ = _core.config_word(name, _word(self.configuration[name], value))
            resolved[key] = replace(resolved[key], value=read, origin=_ORIGIN)
        return resolved

    def known(self, name: str) -> None:
        """Raise InvalidArgument for what is no key."""
        if name not in self.configuration:
            raise InvalidArgument("settings", f"{name[:80]!r} is no configuration key; flyball config lists them")

    async def prepare(self, server: Server, revision: Revision) -> Ready:
        """Have a revision ready. Raises Error or Failure for what cannot be in force."""
        configuration = self.resolve(revision.settings)
        settings, now = self._settings_of(configuration), server.settings
        descriptors.raise_limit(settings)
        governor = self._governor_of(configuration)
        for served in server.models:
            _core.governor_check(governor_words(served.governed(governor)))
        routing, embedder = server.routing, server.remembering.embedder
        if settings.routes != now.routes:
            routing = await _routing(server, settings.routes)
        if settings.memory_embedding != now.memory_embedding:
            embedder = await _embedder(settings.memory_embedding)
        return Ready(revision, configuration, settings, governor, routing, embedder)

    def _settings_of(self, configuration: Mapping[str, Setting]) -> ServeSettings:
        """With what the start alone gives: keys, plugins in development."""
        keys = self.settings.api_keys, self.settings.has_stored_keys
        before, after = (ServeSettings.of(each, *keys) for each in (self.configuration, configuration))
        names = [field.name for field in fields(after)]
        changed = {name: getattr(after, name) for name in names if getattr(after, name) != getattr(before, name)}
        return replace(self.settings, **changed)

    def _governor_of(self, configuration: Mapping[str, Setting]) -> Governor:
        keys = [key for key in configuration if key.startswith(_GOVERNOR)]
        _core.governor_check(governor_words({key: configuration[key].value for key in keys}))
        both = {key: (self.configuration[key].value, configuration[key].value) for key in keys}
        return {key: (before, now) for key, (before, now) in both.items() if before != now}


def refuse_kept(keys: Iterable[str]) -> None:
    """Raise Failure 409 for keys that a running server does not take, and say why."""
    kept = {key: rule for key in keys if not (rule := rule_of(key)).is_changeable}
    if kept:
        why = "; ".join(f"{key} ({rule.applies}: {rule.why})" for key, rule in kept.items())
        what = f"a running server keeps {why}; start it with another value"
        raise Failure(409, what, param=next(iter(kept)), code="not_live")


async def _routing(server: Server, path: str) -> Routing | None:
    if not path:
        return None
    made = Routing(Path(expanded(path)), server.models, server.records, server.adapters)
    await made.start()
    return made


async def _embedder(path: str) -> ModelEmbedder | None:
    return ModelEmbedder(await asyncio.to_thread(Model.load, path)) if path else None


def _word(setting: Setting, value: object) -> str:
    """A value of JSON as the command line has it, which the schema's own code then reads."""
    expected = "text" if setting.kind in ("text", "choice") else "a number"
    if kind(value) != expected:
        raise InvalidArgument(setting.key, f"is {kind(value)}, must be {expected}: {setting.allowed}")
    if not storable(word := str(value)):
        raise InvalidArgument(setting.key, "has a NUL or half of a surrogate pair, which no file has")
    return word
