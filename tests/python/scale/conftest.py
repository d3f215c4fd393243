"""Edges for tests, in threads; real servers as replicas, and connections to them that break where a test wants."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from flyball.scale.edge import Edge
from flyball.scale.settings import EdgeSettings
from flyball.serve.server import listen
from tests.python.serve.conftest import WAIT
from tests.python.serve.conftest import server as server  # the fixtures
from tests.python.serve.conftest import start as start


@dataclass
class RunningEdge:
    """An edge that answers at `url`, in a thread of its own."""

    url: str
    edge: Edge
    loop: asyncio.AbstractEventLoop
    alerts: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=WAIT)

    def states(self) -> dict[str, str]:
        """Of each replica."""
        return {each["url"]: each["state"] for each in httpx.get(f"{self.url}/edge/replicas").json()["replicas"]}

    def metric(self, name: str) -> float:
        """The value of a metric, with its labels as Prometheus writes them."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[-1])


MakeEdge = Callable[..., RunningEdge]


@pytest.fixture
def make_edge(tmp_path: Path) -> Iterator[MakeEdge]:
    """make_edge(URL, URL, ..., verify=0.5): an edge that has looked at its replicas."""
    ends: list[Callable[[], None]] = []

    def making(*replicas: str, wait: bool = True, **settings: Any) -> RunningEdge:
        quick: dict[str, Any] = {"verify": 0, "look": 0.1, "alerts": str(tmp_path / "alerts.jsonl")}
        chosen = EdgeSettings(replicas=replicas, **quick | settings)
        sock = listen("127.0.0.1", 0)
        made: list[RunningEdge] = []
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(_run(chosen, sock, made, ready)))
        thread.start()
        assert ready.wait(WAIT)
        running = made[0]

        def end() -> None:
            running.loop.call_soon_threadsafe(running.loop.stopping.set)  # type: ignore[attr-defined]
            thread.join(WAIT)
            sock.close()

        ends.append(end)
        if wait:
            until(lambda: "unknown" not in running.states().values())
        return running

    yield making
    for end in ends:
        end()


async def _run(settings: EdgeSettings, sock: socket.socket, made: list[RunningEdge], ready: threading.Event) -> None:
    loop: Any = asyncio.get_running_loop()
    loop.stopping = asyncio.Event()
    async with Edge.open(settings) as edge:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        made.append(RunningEdge(url, edge, loop, Path(settings.alerts)))
        serving = asyncio.ensure_future(edge.serve(sock, ready.set))
        await loop.stopping.wait()
        edge.end()
        await serving


def until(holds: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait until something holds."""
    end = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        end.wait(0.05)
    raise AssertionError("it did not come true")


@dataclass
class Breaking:
    """A way to a server on which answers break off.

    cuts      after how many bytes of each following response
    instead   what is sent in place of each following response
    requests  those that ask for answers
    """

    url: str
    cuts: list[int | None] = field(default_factory=list)
    instead: list[bytes] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


@pytest.fixture
def breaking(server: Any) -> Iterator[Breaking]:
    """A way to the server of the bundled model."""
    target = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    listening = socket.create_server(("127.0.0.1", 0))
    way = Breaking(f"http://127.0.0.1:{listening.getsockname()[1]}")
    open_sockets: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.create_connection(target)
            open_sockets.extend((client, upstream))
            cut: list[int | None] = [None]
            threading.Thread(target=_pump, args=(client, upstream, way, cut, True), daemon=True).start()
            threading.Thread(target=_pump, args=(upstream, client, way, cut, False), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield way
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    for each in open_sockets:
        each.close()
    thread.join(WAIT)


def _pump(source: socket.socket, sink: socket.socket, way: Breaking, cut: list[int | None], is_asking: bool) -> None:
    """Copy bytes; of a response as many as its `cut` says, which is taken when its request comes."""
    n = 0
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if is_asking and data.startswith((b"POST ", b"GET ")):
                # The edge's own looks and questions are none.
                is_answer = data.startswith(b"POST ") and b"user-agent: python-httpx" in data.lower()
                cut[0] = way.cuts.pop(0) if is_answer and way.cuts else None
                if is_answer:
                    way.requests.append(data)
                if is_answer and way.instead:
                    source.sendall(way.instead.pop(0))
                    break
            elif is_asking and way.requests:
                way.requests[-1] += data
            if not is_asking and cut[0] is not None:
                data = data[: max(0, cut[0] - n)]
                n += len(data)
                if n >= cut[0]:
                    sink.sendall(data)
                    break
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
