"""What a response says of the cache of answers: a header."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .telling import tell

if TYPE_CHECKING:
    from starlette.types import Scope

HIT, MISS, OFF = "hit", "miss", "off"
_CACHING = "flyball.caching"  # in a request's scope


def caching_of(scope: Scope) -> list[str]:
    """The list that gets one of these words for each answer to a request. The header says hit where all were given
    again, miss where one was looked for and not found, off where one was not looked for."""
    said: list[str] | None = scope.get(_CACHING)
    if said is None:
        said = scope[_CACHING] = []
        tell(scope, "flyball-cache", lambda: next((word for word in (MISS, OFF, HIT) if word in said), None))
    return said
