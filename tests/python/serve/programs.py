"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def program(name: str, package: str) -> str:
    """Its path. Without it the test is left out; where CI=true it has failed."""
    path = shutil.which(name)
    if path is None:
        what = f"{name} is not installed (Debian's package {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        pytest.skip(what)
    return path


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
