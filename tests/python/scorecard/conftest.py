"""Servers that send what a test has them send, and clocks that go as a test has them go."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.python.serve.conftest import server, start

__all__ = ["server", "start"]

Respond = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
Serve = Callable[..., str]


class Ticking:
    """A clock that goes on by a tick whenever it is read."""

    def __init__(self, tick: float = 0.01) -> None:
        self._now, self._tick = 0.0, tick

    def __call__(self) -> float:
        self._now += self._tick
        return self._now


def send(handler: BaseHTTPRequestHandler, body: bytes | str, status: int = 200) -> None:
    """A whole response."""
    raw = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    handler.send_header("content-length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw)


def stream_of(*texts: str, tokens: int | None = None, **last: Any) -> str:
    """A streamed answer."""
    events: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    if tokens is not None:
        events.append({"choices": [], "usage": {"completion_tokens": tokens}} | last)
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(respond) starts a server with one model whose chats `respond` answers, and gives its address."""
    running: list[ThreadingHTTPServer] = []

    def starting(respond: Respond, models: object = None) -> str:
        listed = {"data": [{"id": "m"}]} if models is None else models

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                send(self, json.dumps(listed))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                    respond(self, body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        running[-1].daemon_threads = True
        threading.Thread(target=running[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_address[1]}/v1"

    yield starting
    for each in running:
        each.shutdown()
        each.server_close()
