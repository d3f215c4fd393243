"""One command of a round: a process of its own, so that whatever becomes of it, the round goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .plan import Step

_LOOK_S, _STOP_S = 0.5, 10.0
_MOST_SAID = 300


@dataclass(frozen=True)
class Ended:
    """What became of a command. `code` None: it was ended at its limit of `seconds`; `said`: its last line of error."""

    command: str
    code: int | None
    seconds: float
    output: Path
    said: str

    @property
    def why_not(self) -> str:
        """Why it has no results, if it has none."""
        if self.code is None:
            return f"was ended after {self.seconds:.0f} s: it took much longer than expected"
        return self.said or f"ended with exit code {self.code}"


def run(
    step: Step,
    output: Path,
    limit_s: float,
    tell: Callable[[float], object],
    environment: Mapping[str, str] = {},
) -> Ended:
    """Run a command, with what it prints in `output`; it ends at the limit. `tell` gets the seconds so far.

    What ends this call ends the command first.
    """
    start = time.monotonic()
    output.parent.mkdir(parents=True, exist_ok=True)
    errors = output.with_suffix(".err")
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "flyball", *step.words],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            code = _until(process, start, limit_s, tell)
        finally:
            _end(process)
    said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    return Ended(step.command, code, time.monotonic() - start, output, said[-1][:_MOST_SAID])


def _until(
    process: subprocess.Popen[bytes], start: float, limit_s: float, tell: Callable[[float], object]
) -> int | None:
    while (passed := time.monotonic() - start) < limit_s:
        tell(passed)
        try:
            return process.wait(min(_LOOK_S, limit_s - passed))
        except subprocess.TimeoutExpired:
            pass
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
