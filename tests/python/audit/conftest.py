"""A server with two signed answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flyball import audit
from tests.python.audit.world import Clock, Server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Made once: every key and line waits for the disk."""
    folder, clock = tmp_path_factory.mktemp("server"), Clock()
    server = Server(folder, clock, audit.Keys(folder / "keys", clock))
    server.answer("greedy", "sampled")
    return server


@pytest.fixture
def server(made: Server, tmp_path: Path, clock: Clock) -> Server:
    """A copy for each test."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    clock.ns = made.clock.ns
    return Server(tmp_path, clock, audit.Keys(tmp_path / "keys", clock), list(made.records))
