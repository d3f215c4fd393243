"""What is learned once for all tests."""

from __future__ import annotations

import pytest

from flyball.route.intents import Intents
from flyball.route.registry import load

from .registries import registry


@pytest.fixture(scope="session")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Intents:
    """Of the bundled set."""
    path = tmp_path_factory.mktemp("routes") / "routes.toml"
    path.write_text(registry(0.6))
    return Intents.learn(load(path))
