"""Run a measured process: output, wall time, peak memory, and the load of other processes meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program gave no figure; the message has the cause."""


@dataclass(frozen=True)
class Outcome:
    """The result of a process. `foreign`: share of all processors used by other work or a hypervisor."""

    stdout: str
    seconds: float
    rss_mb: float
    foreign: float


def run(argv: Sequence[str], timeout: float = 1800, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command. wait4 gives this child's own peak memory, while RUSAGE_CHILDREN covers all children. The peak
    starts at this process's size, which is therefore kept small."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        busy = _busy_seconds()
        start = time.perf_counter()
        try:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        except OSError as error:
            raise Failed(f"{argv[0]} cannot be started: {error.strerror}") from None
        killer = threading.Timer(timeout, child.kill)
        killer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        finally:
            killer.cancel()
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        foreign = _busy_seconds() - busy - usage.ru_utime - usage.ru_stime
        if child.returncode != 0:
            raise Failed(_reason(argv, child.returncode, seconds >= timeout, _text(err)))
        share = max(0.0, foreign) / (seconds * (os.cpu_count() or 1))
        return Outcome(_text(out), seconds, usage.ru_maxrss * 1024 / 1e6, share)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _reason(argv: Sequence[str], code: int, late: bool, stderr: str) -> str:
    name = Path(argv[0]).name
    if late:
        return f"{name} timed out"
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return f"{name}: {how}" + (f": {lines[-1][:200]}" if lines else "")


def _busy_seconds() -> float:
    """Processor time of the whole machine since boot; 0 if /proc does not have it."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, words[1:9])
    return (user + nice + system + irq + soft + steal) / _TICKS_PER_SECOND
