"""Programs for tests: an edge, and a replica whose kernels err from a moment on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.python.serve.conftest import WAIT

# In the replica: once the file FLIP is there, the lowest bit of ln(2)'s upper part (cpp/base/math.h), which each
# exponential multiplies by, changes wherever the core's code or constants have it, as if their memory were broken.
_FAULTY = """
import pathlib, struct, sys, threading, time
import flyball._core as core
from flyball.cli import main

def flip(flag):
    while not flag.exists():
        time.sleep(0.01)
    wanted = struct.pack("<f", -float.fromhex("0x1.62e4p-1"))
    n = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "r+b", buffering=0) as memory:
        for line in maps:
            if core.__file__ not in line:
                continue
            begin, end = (int(each, 16) for each in line.split()[0].split("-"))
            memory.seek(begin)
            raw = memory.read(end - begin)
            at = raw.find(wanted)
            while at >= 0:
                memory.seek(begin + at)
                memory.write(bytes([wanted[0] ^ 1]))
                n += 1
                at = raw.find(wanted, at + 1)
    flag.with_suffix(".done").write_text(str(n))

threading.Thread(target=flip, args=(pathlib.Path(sys.argv.pop(1)),), daemon=True).start()
sys.exit(main(sys.argv[1:]))
"""


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {"HOME": str(home), "XDG_STATE_HOME": "", "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}


@contextmanager
def _program(home: Path, command: list[str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A program that says where it serves OpenAI's interface."""
    home.mkdir(exist_ok=True)
    process = subprocess.Popen(
        command, env=_environment(home), cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = next(line for line in process.stdout if line.startswith("OpenAI")).split()[1].removesuffix("/v1")
        yield url, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def running_edge(home: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`flyball edge`: its address and its process."""
    with _program(home, [sys.executable, "-m", "flyball", "edge", *words]) as running:
        yield running


def failing_edge(home: Path, *words: str) -> tuple[int, str]:
    """Exit code and error of a `flyball edge` that does not start."""
    command = [sys.executable, "-m", "flyball", "edge", *words]
    done = subprocess.run(command, env=_environment(home), capture_output=True, text=True, timeout=WAIT)
    return done.returncode, done.stderr


@contextmanager
def faulty_replica(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A replica's address, and what makes its kernels err."""
    flag = folder / "flip"
    words = ["serve", "--port", "0", "--set", "tune=off"]
    with _program(folder / "faulty", [sys.executable, "-c", _FAULTY, str(flag), *words]) as (url, process):

        def flip() -> None:
            flag.touch()
            done = flag.with_suffix(".done")
            for _ in range(int(WAIT / 0.05)):
                if done.exists() and done.read_text():
                    break
                try:
                    process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                raise AssertionError("the replica has ended")
            assert int(done.read_text()) > 0, "the constant was not found"

        yield url, flip
