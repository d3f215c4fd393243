"""Plugins for tests: files in a folder, found and called as those of users are."""

from __future__ import annotations

import asyncio
import json
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from flyball.plugins import found
from flyball.plugins.pool import Pool
from flyball.plugins.process import Allowed
from flyball.plugins.walls import PARTS, Wall

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"
HEAD = "from flyball.plugins import *\n"
_TOOL = '[[tools]]\nname = "try"\ndescription = "Tries something."\n'


def write_plugin(
    folder: Path,
    name: str,
    body: str,
    capabilities: tuple[str, ...] = ("tools",),
    permissions: str = "seconds = 5",
    tools: str = _TOOL,
) -> Path:
    """A plugin in a folder: its module, which imports what plugins need, and its manifest."""
    folder.mkdir(exist_ok=True)
    module = folder / f"{name}.py"
    module.write_text(HEAD + dedent(body))
    manifest = f'name = "{name}"\napi = 1\nversion = "1"\nabout = "Of a test."\n'
    manifest += f"capabilities = {json.dumps(list(capabilities))}\n[permissions]\n{permissions}\n"
    module.with_suffix(".toml").write_text(manifest + (tools if "tools" in capabilities else ""))
    return module


def tool(body: str) -> str:
    """A module whose one hook answers a call with what `body` does."""
    lines = dedent(body).strip().splitlines()
    return "@hookimpl\ndef flyball_call_tool(call, host):\n" + "".join(f"    {line}\n" for line in lines)


def allowed(folder: Path, name: str, **how: Any) -> Allowed:
    """A plugin of a folder, as a project allows it."""
    there = found.find(folder)
    assert not there.faults, there.faults
    return Allowed(there.plugins[name], **how)


def run(pool_use: Callable[[Pool], Any], wall: Wall | None = None, **how: Any) -> Any:
    """What a use of a pool gives; its processes are ended."""

    async def main() -> Any:
        pool = Pool(wall=wall, **how)
        try:
            return await pool_use(pool)
        finally:
            await pool.close()

    return asyncio.run(main())


def call(plugin: Allowed, wall: Wall | None = None, kind: str = "tools", value: Any = None) -> Any:
    """One call in a process of its own."""
    value = {"tool": "try", "arguments": {}} if value is None else value
    return run(lambda pool: pool.call("p", plugin, kind, value), wall)


def wall_of(name: str) -> Wall:
    """A wall by its name, whether or not it is the best one; the test is left out where its program is missing."""
    programs = {"bubblewrap": "bwrap", "namespaces": "unshare"}
    program = shutil.which(programs[name]) if name in programs else ""
    if program is None:
        pytest.skip(f"{programs[name]} is not installed")
    return Wall(name, PARTS, program or "")


class Weather(BaseHTTPRequestHandler):
    """Open-Meteo's two services, as far as the example asks them."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        answers: Mapping[str, Callable[[], Any]] = {
            "/v1/search": lambda: {"results": [_PARIS]} if query["name"] == "Paris" else {"generationtime_ms": 0.1},
            "/v1/forecast": lambda: {"current": _NOW} if query["latitude"] == "48.85" else {},
        }
        content = json.dumps(answers[parts.path]()).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


_PARIS = {"name": "Paris", "country": "France", "latitude": 48.85, "longitude": 2.35}
_NOW = {"time": "2026-12-01T10:00", "temperature_2m": 7.5, "wind_speed_10m": 11.2, "weather_code": 61}


def serving(server: socketserver.TCPServer) -> Iterator[str]:
    """The address of a server that runs meanwhile."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def weather_url() -> Iterator[str]:
    """A local server of the weather."""
    yield from serving(ThreadingHTTPServer(("127.0.0.1", 0), Weather))
