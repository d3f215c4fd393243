"""Clients that go, and answers that fail on their way: in this process, where the server's counts can be seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.serve.app import create_app
from flyball.serve.models import Entry, Models, Served
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings

from .scripted_model import write_scripted_model

MESSAGES = [{"role": "user", "content": "Go on"}]
TOKENS = 100_000  # far more than are computed before anybody notices
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": TOKENS},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": TOKENS},
    "/v1/responses": {"input": "Go on", "max_output_tokens": TOKENS},
}


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flyball.Model]:
    path = tmp_path_factory.mktemp("models") / "endless.gguf"
    write_scripted_model(path, scripts={"\n": ["on ", "and "]}, context=1 << 17, endless=True)
    with flyball.Model.load(path) as model:
        yield model


def server_of(model: flyball.Model) -> Server:
    entry = Entry("endless", Path(model.info.path), lambda: model, served=Served("endless", model))
    return Server(ServeSettings(), Models([entry]))


async def call(server: Server, path: str, body: dict[str, Any], on_chunk: Any) -> tuple[int, bytes]:
    """POST, with `on_chunk(sent)` after each chunk of the response; it gives True once the client has gone."""
    gone = asyncio.Event()
    raw = json.dumps(body).encode()
    requests = iter([{"type": "http.request", "body": raw, "more_body": False}])
    status, sent = 0, b""

    async def receive() -> dict[str, Any]:
        for request in requests:
            return request
        if not body.get("stream"):
            await asyncio.sleep(0.05)
            gone.set()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, sent
        status = message.get("status", status)
        sent += message.get("body", b"")
        if message.get("body") and on_chunk(sent):
            gone.set()

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"),
               (b"content-length", str(len(raw)).encode())]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
             "root_path": "", "http_version": "1.1", "asgi": {"version": "3.0"}}  # fmt: skip
    await create_app(server)(scope, receive, send)
    return status, sent


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", REQUESTS)
def test_an_answer_ends_with_its_client(endless: flyball.Model, path: str, stream: bool) -> None:
    server = server_of(endless)
    asyncio.run(call(server, path, REQUESTS[path] | {"stream": stream}, lambda sent: b"and" in sent))
    assert (server.observe.total("canceled"), server.observe.total("finished")) == (1, 0)
    assert (server.queue.n_running, server.queue.n_waiting, server.flights.flying) == (0, 0, [])


@pytest.mark.parametrize("path", REQUESTS)
def test_an_answer_that_is_cut_ends_its_stream_with_an_error(endless: flyball.Model, path: str) -> None:
    server = server_of(endless)

    def cut(sent: bytes) -> bool:
        if b"and" in sent and not server.draining:
            server.cut()
        return False

    status, sent = asyncio.run(call(server, path, REQUESTS[path] | {"stream": True}, cut))
    assert status == 200
    *_, last = [line for line in sent.decode().split("\n\n") if line]
    name, _, data = last.rpartition("data: ")
    event = json.loads(data)
    if path == "/v1/messages":
        assert (name, event["type"], event["error"]["type"]) == ("event: error\n", "error", "overloaded_error")
    elif path == "/v1/responses":
        assert name == "event: response.failed\n"
        assert (event["response"]["status"], event["response"]["error"]["code"]) == ("failed", "server_error")
        assert event["sequence_number"] == sent.count(b"sequence_number") - 1
    else:
        assert event["error"]["type"] == "unavailable_error"


def test_a_client_that_goes_in_its_body_is_no_defect(endless: flyball.Model) -> None:
    server, sent = server_of(endless), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"500")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": headers}
    asyncio.run(create_app(server)(scope, receive, send))
    assert sent[0]["status"] == 499
    assert not server.observe.refusals
