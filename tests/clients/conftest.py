"""What the checks of clients have in common: the address of the server that tests/clients/check.py has started."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def url() -> str:
    return os.environ["FLYBALL_URL"]
