"""What may not reach the server: hosts, origins, keys, bodies."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

import pytest

from flyball.errors import InvalidArgument
from flyball.serve.bodies import Body, parse
from flyball.serve.failures import Failure
from flyball.serve.guard import Guard, host_of
from flyball.serve.settings import ServeSettings

from .conftest import Running, Start

KEY = "correct-horse-battery"
QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def locked(start: Start) -> Running:
    return start(key=KEY)


def raw(server: Running, request: bytes) -> bytes:
    """What the server answers to these bytes, until it closes or has answered."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := sock.recv(65536)):
            answer += more
        return answer


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil", "10.0.0.1"])
def test_other_hosts_are_refused(server: Running, host: str) -> None:
    said = server.get("/v1/models", headers={"host": host})
    assert said.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_own_names_are_answered(server: Running, host: str) -> None:
    assert server.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil", "file://"])
def test_pages_of_other_sites_are_refused(server: Running, origin: str) -> None:
    said = server.post(
        "/v1/chat/completions",
        QUESTION,
    )
    assert said.status_code == 200
    with server.client() as client:
        for method in ("GET", "POST", "OPTIONS"):
            said = client.request(method, "/v1/models", headers={"origin": origin, "content-type": "application/json"})
            assert said.status_code == 403
            assert not [name for name in said.headers if name.startswith("access-control")]


def test_own_page_is_answered(server: Running) -> None:
    assert server.get("/v1/models", headers={"origin": server.url}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_only_json_is_read(server: Running, kind: str) -> None:
    with server.client() as client:
        said = client.post(
            "/v1/chat/completions", content=json.dumps(QUESTION).encode(), headers={"content-type": kind}
        )
    assert said.status_code == 415


def test_programs_may_leave_out_the_type_and_browsers_not(server: Running) -> None:
    """A page can send a body without a type to any address; its browser then says where the page is from."""
    with server.client() as client:
        body = json.dumps(QUESTION).encode()
        said = client.post("/v1/chat/completions", content=body)
        assert "content-type" not in said.request.headers
        assert said.status_code == 200
        for header in ({"sec-fetch-site": "cross-site"}, {"origin": server.url}):
            assert client.post("/v1/chat/completions", content=body, headers=header).status_code == 415


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b'{"messages": NaN}', b"[" * 100_000,
     b'{"a":' * 70 + b"1" + b"}" * 70],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(server: Running, content: bytes) -> None:
    with server.client() as client:
        said = client.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert said.status_code == 400
    assert said.json()["error"]["code"] == "invalid_json"


def test_large_bodies_are_refused(start: Start) -> None:
    small = start("--set", "serve.body_kb=1")
    assert small.post("/v1/chat/completions", QUESTION).status_code == 200
    assert small.post("/v1/chat/completions", QUESTION | {"x": "y" * 2000}).status_code == 413

    def pieces() -> Any:
        for _ in range(100):
            yield b" " * 100

    with small.client() as client:  # without a length
        said = client.post("/v1/chat/completions", content=pieces(), headers={"content-type": "application/json"})
    assert said.status_code == 413


def test_many_or_long_headers_are_refused(server: Running) -> None:
    many = b"".join(b"x-%d: y\r\n" % i for i in range(200))
    assert raw(server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431")
    long = b""
    with suppress(OSError):  # the server may have closed before all of it was sent
        long = raw(server, b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n")
    assert not long or long.startswith(b"HTTP/1.1 400")
    assert server.get("/health").status_code == 200


def test_a_head_that_never_ends_is_ended(server: Running) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        n_lines = 0
        with suppress(OSError):
            while n_lines < 1_000_000:
                sock.sendall(b"x-%06d: y\r\n" % n_lines)
                n_lines += 1
        assert n_lines < 500_000  # the bound, and what was on its way
    assert server.get("/health").status_code == 200


def test_a_key_is_needed(locked: Running) -> None:
    with locked.client() as client:
        client.headers.clear()
        for path in ("/v1/models", "/v1/receipts/x", "/metrics", "/nothing"):
            said = client.get(path)
            assert said.status_code == 401
            assert said.headers["www-authenticate"] == "Bearer"
        for wrong in (KEY[:-1], KEY + "x", KEY.upper()):
            assert client.get("/v1/models", headers={"authorization": f"Bearer {wrong}"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": f"Basic {KEY}"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        assert client.get("/v1/models", headers={"x-api-key": KEY}).status_code == 200
        assert client.get("/health").status_code == 200


def test_the_key_is_nowhere_to_be_seen(locked: Running) -> None:
    assert KEY not in "".join(locked.said)
    assert KEY not in locked.get("/v1/models").text


def test_an_address_for_others_needs_a_key() -> None:
    with pytest.raises(InvalidArgument, match="needs an API key"):
        ServeSettings(host="0.0.0.0")
    ServeSettings(host="0.0.0.0", api_keys=("long-enough",))
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        ServeSettings(host=host)


def guarded(settings: ServeSettings, headers: dict[str, str]) -> int:
    """The status that the guard gives a request, 200 where it passes."""
    status = 200

    async def app(*_: object) -> None:
        return None

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http", "method": "GET", "path": "/v1/models",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    asyncio.run(Guard(app, settings, lambda _: None)(scope, app, send))  # type: ignore[arg-type]
    return status


def test_hosts_of_a_server_for_others() -> None:
    settings = ServeSettings(host="0.0.0.0", api_keys=(KEY,), allowed_hosts=("box.lan",))
    with_key = {"authorization": f"Bearer {KEY}"}
    assert guarded(settings, with_key | {"host": "192.168.1.7:8080"}) == 200
    assert guarded(settings, with_key | {"host": "box.lan"}) == 200
    assert guarded(settings, with_key | {"host": "evil.example"}) == 403
    assert guarded(settings, {"host": "box.lan"}) == 401


def test_pages_of_allowed_origins_may_ask(start: Start) -> None:
    open_to = start("--set", "serve.allowed_origins=https://app.example", key=KEY)
    origin = {"origin": "https://app.example"}
    with open_to.client() as client:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        said = client.options("/v1/chat/completions", headers=origin | asked)
        assert said.status_code == 204
        assert said.headers["access-control-allow-origin"] == "https://app.example"
        assert "authorization" in said.headers["access-control-allow-headers"]
        said = client.get("/v1/models", headers=origin)
        assert (said.status_code, said.headers["access-control-allow-origin"]) == (200, "https://app.example")
        assert said.headers["vary"] == "origin"
        assert "access-control-allow-origin" not in client.get("/v1/models").headers


def test_allowed_origins() -> None:
    settings = ServeSettings(allowed_origins=("https://app.example",))
    assert guarded(settings, {"host": "localhost", "origin": "https://app.example"}) == 200
    assert guarded(settings, {"host": "localhost", "origin": "https://app.example.evil"}) == 403


@pytest.mark.parametrize(
    ("header", "host"),
    [("a.b:1", "a.b"), ("[::1]:80", "::1"), ("A.B.", "a.b"), ("[", ""), ("", ""), (":::", "")],
)
def test_host_of(header: str, host: str) -> None:
    assert host_of(header) == host


def test_bodies() -> None:
    body = Body(parse(b'{"a": 1, "b": null, "c": "x", "d": 3.0, "e": 1e400}'))
    assert body.integer("a", 0, 5) == 1
    assert body.text("b", "default") == "default"
    assert body.integer("d", 0, 5) == 3
    for refused in (lambda: body.integer("c", 0, 5), lambda: body.number("e", 0, 5), lambda: body.flag("a")):
        with pytest.raises(Failure) as caught:
            refused()
        assert caught.value.status == 400
    assert Body({"a": 1, "b": None, "c": 2}).unread() == ["a", "c"]
