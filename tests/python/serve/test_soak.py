"""A server that is used badly keeps nothing of it: bench/soak.py for a while."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MINUTES = os.environ.get("FLYBALL_SOAK_MINUTES", "0.05")
ROOT = Path(__file__).parents[3]


@pytest.mark.soak
def test_bad_use_leaves_nothing_behind() -> None:
    """Memory is judged by longer runs: in a short one the server still gets warm."""
    command = [sys.executable, "-m", "bench.soak", "--minutes", MINUTES, "--clients", "4", "--growth", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "verified" in ended.stdout or float(MINUTES) < 1
    assert "Traceback" not in ended.stderr
