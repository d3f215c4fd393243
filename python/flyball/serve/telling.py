"""Headers by which a response says what its request got: adapter, route, memory, cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOLD = "flyball.told"  # the scope's key


def tell(scope: Scope, header: str, value: str | Callable[[], str | None]) -> None:
    """Give the response this header; a function is asked when the response begins, and None is no header."""
    scope.setdefault(_TOLD, {})[header] = value


class Telling:
    """Adds the headers. Plain ASGI: no stream is buffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_headers(scope)]
            await send(message)

        await self._app(scope, receive, sending)


def _headers(scope: Scope) -> Iterator[tuple[bytes, bytes]]:
    for name, value in scope.get(_TOLD, {}).items():
        text = value() if callable(value) else value
        if text is not None:
            yield name.encode(), text.encode("ascii", "replace")
