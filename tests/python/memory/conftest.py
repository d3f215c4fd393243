"""Memories for tests, in both databases."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flyball.memory import Memory
from flyball.store import Project
from tests.python.store.conftest import clock, open_store, postgres, project, store, url  # noqa: F401

MemoryOf = Callable[..., Memory]


@pytest.fixture
def memory(project: Project) -> Memory:  # noqa: F811
    return Memory(project)
