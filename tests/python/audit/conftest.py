"""A server with two signed answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball import audit
from tests.python.audit.world import Clock, Server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(tmp_path: Path, clock: Clock) -> Server:
    made = Server(tmp_path, clock, audit.Keys(tmp_path / "keys", clock))
    made.answer("greedy", "sampled")
    return made
