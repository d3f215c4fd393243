"""Servers for tests: real ones, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from .scripted_model import write_scripted_model

WAIT = 120  # seconds, for neighbors that take the processors


@dataclass
class Running:
    """A server that answers at `url`."""

    process: subprocess.Popen[str]
    url: str
    said: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def client(self, **how: object) -> httpx.Client:
        """A client of its own connections."""
        return httpx.Client(base_url=self.url, timeout=WAIT, headers=self.headers, verify=False, **how)  # type: ignore[arg-type]

    def post(self, path: str, body: object, **how: object) -> httpx.Response:
        """POST a JSON body, whatever its texts are."""
        with self.client() as client:
            headers = {"content-type": "application/json"}
            return client.post(path, content=json.dumps(body), headers=headers, **how)  # type: ignore[arg-type]

    def get(self, path: str, **how: object) -> httpx.Response:
        """GET."""
        with self.client() as client:
            return client.get(path, **how)  # type: ignore[arg-type]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT)


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers: start("model.gguf", "--set", "serve.parallel=1", key="..."). They end with the module."""
    servers: list[Running] = []

    def starting(*words: str | Path, key: str | None = None, home: Path | None = None) -> Running:
        folder = home or tmp_path_factory.mktemp("home")
        environment = os.environ | {
            "HOME": str(folder),
            "XDG_STATE_HOME": "",
            "XDG_CACHE_HOME": "",
            "XDG_CONFIG_HOME": "",
        }
        environment |= {"FLYBALL_API_KEY": key} if key else {}
        command = [sys.executable, "-m", "flyball", "serve", "--port", "0", "--set", "tune=off", *map(str, words)]
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("OpenAI"):
                break
        else:
            raise AssertionError(f"the server ended with {process.wait()}: {''.join(said)}")
        url = said[-1].split()[1].removesuffix("/v1")
        servers.append(Running(process, url, said, {"authorization": f"Bearer {key}"} if key else {}))
        return servers[-1]

    yield starting
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        if server.process.stdout is not None:
            server.process.stdout.close()


@pytest.fixture(scope="module")
def server(start: Start) -> Running:
    """A server of the bundled model."""
    return start()


@pytest.fixture(scope="module")
def scripted(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server of a model that thinks and calls a tool, or does neither."""
    return start(write_scripted_model(tmp_path_factory.mktemp("models") / "scripted.gguf"))
