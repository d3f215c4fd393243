"""What the host fetches, and what it refuses."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyball.plugins.fetching import MOST_BYTES, Fetcher, Origin, Refused
from flyball.plugins.hooks import Fetched
from flyball.plugins.process import PluginTold

from .conftest import allowed, call, serving, tool, write_plugin


class Script(socketserver.BaseRequestHandler):
    """Answers by the path, as bytes."""

    def handle(self) -> None:
        line = self.request.recv(65536).decode()
        path = line.split()[1]
        port = self.server.server_address[1]  # type: ignore[index]
        answers = {
            "/good": b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi",
            "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "/short": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhi",
            "/large": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST_BYTES + 1),
            "/nonsense": b"\x00\xff\r\n\r\n",
            "/inside": b"HTTP/1.1 302 x\r\nlocation: /good\r\n\r\n",
            "/round": b"HTTP/1.1 302 x\r\nlocation: /round\r\n\r\n",
            "/outside": b"HTTP/1.1 302 x\r\nlocation: http://example.com/\r\n\r\n",
            "/elsewhere": f"HTTP/1.1 302 x\r\nlocation: http://localhost:{port}/good\r\n\r\n".encode(),
            "/file": b"HTTP/1.1 302 x\r\nlocation: file:///etc/passwd\r\n\r\n",
        }
        self.request.sendall(answers.get(path, b""))
        if path == "/drip":
            self._drip()

    def _drip(self) -> None:
        self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            for _ in range(200):
                self.request.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Script)
    server.daemon_threads = True
    yield from serving(server)


def get(url: str, *allowed: str, seconds: float = 5) -> Fetched:
    return Fetcher(allowed).fetch(url, None, "", seconds)


@pytest.mark.parametrize("path", ["/good", "/chunked", "/inside"])
def test_what_is_listed_is_fetched(url: str, path: str) -> None:
    assert get(url + path, url).body == b"hi"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/short", "in the middle of its answer"),
        ("/large", "larger than 128 KiB"),
        ("/nonsense", "127.0.0.1"),
        ("/nothing", "127.0.0.1"),
        ("/round", "more than 3 redirects"),
        ("/outside", "http://example.com:80 is not among"),
        ("/elsewhere", "http://localhost:.* is not among"),
        ("/file", "is no http or https URL"),
    ],
)
def test_what_is_no_answer_is_refused(url: str, path: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        get(url + path, url)


def test_a_dripping_server_is_cut(url: str) -> None:
    began = time.monotonic()
    with pytest.raises(Refused, match="took too long"):
        get(url + "/drip", url, seconds=0.5)
    assert time.monotonic() - began < 3


def test_other_origins_are_refused(url: str) -> None:
    port = Origin.of(url).port
    others = (
        url.replace("http:", "https:"), f"http://127.0.0.1:{port + 1}", "http://127.0.0.1", f"http://localhost:{port}",
        f"http://user@127.0.0.1:{port}", f"http://127.0.0.1:{port}@example.com", f"http://0x7f000001:{port}",
        "file:///etc/passwd", "gopher://127.0.0.1", "http://", "//127.0.0.1", f"http://127.0.0.1:{port}\r\nx: y",
        "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://ı27.0.0.1", "x" * 10_000,
    )  # fmt: skip
    for each in others:
        with pytest.raises(Refused):
            get(each + "/good", url)


def test_a_name_may_not_lead_inside(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A listed name that means an address of this machine or network is refused, unless it says so itself."""
    port = Origin.of(url).port
    for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "::1", "::ffff:127.0.0.1", "fe80::1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found: Any = [(family, socket.SOCK_STREAM, 6, "", (address, port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=found, **__: found)
        with pytest.raises(Refused, match="private network"):
            get(f"http://rebound.example:{port}/good", f"http://rebound.example:{port}")
    monkeypatch.undo()
    assert get(f"http://localhost:{port}/good", f"http://localhost:{port}").body == b"hi"


def test_a_plugin_gets_what_the_host_fetches(url: str, tmp_path: Path) -> None:
    write_plugin(
        tmp_path, "getter", tool("got = host.fetch(call.arguments['url'])\nreturn got.body.decode() + got.kind")
    )
    plugin = allowed(tmp_path, "getter", hosts=[url])
    value = {"tool": "try", "arguments": {"url": url + "/good"}}
    assert call(plugin, value=value) == "hitext/plain"
    with pytest.raises(PluginTold, match="not fetched: http://example"):
        call(plugin, value={"tool": "try", "arguments": {"url": "http://example.com/"}})
    assert threading.active_count() < 20
