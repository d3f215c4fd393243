"""The web server, with signals of our own, and a bound on what it keeps of a request's head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 << 10


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections that send a longer head than MOST_HEAD_BYTES: httptools alone would keep all of it."""

    _head_bytes: int | None = None  # of a head that is not complete; None: there is none

    def data_received(self, data: bytes) -> None:
        """From the connection."""
        super().data_received(data)
        if self._head_bytes is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head is longer than {MOST_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """From the parser."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """From the parser."""
        self._head_bytes = None
        super().on_headers_complete()


class Web(uvicorn.Server):
    """Leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them."""
        yield


def web(app: ASGIApp, keep_alive_seconds: int = 5) -> Web:
    """A web server for an application, which says nothing by itself."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=keep_alive_seconds,
    )
    return Web(config)
