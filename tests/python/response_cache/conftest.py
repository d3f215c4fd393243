"""Answers of the bundled model, and servers of Redis that tests may kill."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import flyball
from flyball.engine.receipt import Receipt
from flyball.engine.results import Piece
from flyball.response_cache import CachedAnswer

WAIT = 60.0  # seconds, beside busy neighbors


@pytest.fixture(scope="session")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


@pytest.fixture(scope="session")
def answer(model: flyball.Model) -> CachedAnswer:
    """A short answer with probabilities."""
    stream = model.stream("Once upon a time", 4, seed=0, top_logprobs=2, ignore_eos=True)
    pieces = list(stream)
    return CachedAnswer.of("first", stream.result, pieces)


def with_seed(answer: CachedAnswer, seed: int, identity: str) -> CachedAnswer:
    """As if another question had had this answer."""
    members = json.loads(answer.receipt.json)
    members["sampler"]["seed"] = seed
    pieces = (*answer.pieces[:-1], Piece(*answer.pieces[-1].__dict__.values()))
    return CachedAnswer(identity, Receipt(json.dumps(members)), pieces, answer.cached_tokens, answer.cycles)


@dataclass
class Redis:
    """A server on a socket, which can be killed and started again, empty."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self, *settings: str) -> None:
        program = shutil.which("redis-server")
        assert program is not None
        path = self.folder / "redis.sock"
        words = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", *settings]
        prefix = ["setpriv", "--pdeathsig", "KILL"]
        self.process = subprocess.Popen([*prefix, program, *words], cwd=self.folder, stdout=subprocess.DEVNULL)
        end = time.monotonic() + WAIT
        while not self._answers(path):
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)

    @staticmethod
    def _answers(path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(WAIT)
            try:
                asking.connect(str(path))
                asking.sendall(b"PING\r\n")
                return asking.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        (self.folder / "redis.sock").unlink(missing_ok=True)


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A running server."""
    if shutil.which("redis-server") is None:
        reason = "Redis is not installed: apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()
