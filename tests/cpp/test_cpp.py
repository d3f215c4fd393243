"""Every C++ test as a test of its own: the binary lists its tests and runs them one by one."""

import subprocess
from pathlib import Path

import pytest

BINARY = Path(__file__).parents[2] / "build/release/tests/cpp/flyball-tests"


def names() -> list[str]:
    if not BINARY.exists():
        return []
    return subprocess.run([BINARY, "--list"], check=True, capture_output=True, text=True).stdout.split()


def test_binary_is_built() -> None:
    assert names(), f"{BINARY} is missing or empty: run `make cpp-test`"


@pytest.mark.parametrize("name", names())
def test_cpp(name: str) -> None:
    done = subprocess.run(
        [BINARY, f"={name}"], capture_output=True, text=True, errors="backslashreplace", timeout=600, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
