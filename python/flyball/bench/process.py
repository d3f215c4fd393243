"""Worker processes of this build or another one, and their instruction counts by perf."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import Error, FileError, InternalError, NotFound
from .fields import Fields, parse
from .pack import Case, Pack
from .worker import Sample

_MODULE = "flyball.bench.worker"


class Process:
    """A worker process with a model loaded, of this Python or another one. `ended`: the process died."""

    def __init__(self, python: str | None, pack: Pack, model: Path, threads: int) -> None:
        self.python = python or sys.executable
        self.ended = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        try:
            self._process = subprocess.Popen(
                _command(self.python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(python),
            )
        except OSError as error:
            self._errors.close()
            if isinstance(error, FileNotFoundError):
                raise NotFound(self.python, "does not exist; --against takes the Python of an environment") from None
            raise FileError(self.python, f"cannot be run: {error.strerror or error}") from None
        try:
            self.opened = self._ask(_opening(model, pack, threads))
            pack.check_model(model, self.opened.text("fingerprint"))
        except Error:
            self.close()
            raise

    def measure(self, case: Case, seed: int) -> Sample:
        """Run a case in the worker."""
        return Sample.of(self._ask({"case": asdict(case), "seed": seed}))

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # the worker is dead and has not read everything
                    pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> Fields:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise self._death()
        answer = Fields(self.python, parse(self.python, line))
        if answer.has("error"):
            raise InternalError("", answer.text("error"))
        return answer

    def _death(self) -> Error:
        self.ended = True
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        if any("No module named" in line and "flyball" in line for line in said[-1:]):
            return NotFound(self.python, f"has no {_MODULE}: flyball is missing or older than benchmark packs")
        why = f"signal {-status}" if status < 0 else f"status {status}"
        return InternalError(self.python, f"its worker ended with {why}" + (f": {said[-1][:200]}" if said else ""))


def instructions(
    python: str | None, pack: Pack, model: Path, progress: Callable[[str, int, int], object]
) -> dict[str, int]:
    """User-mode instructions of one run of each case, counted by perf; empty if perf cannot count them.

    With one thread, as several spin while waiting. The count is that of two runs minus that of one run.
    """
    if not _perf_counts():
        return {}
    found = {}
    opening, cases = _opening(model, pack, threads=1), pack.corpus.cases
    for done, case in enumerate(cases):
        progress("count", done, len(cases))
        request = {"case": asdict(case), "seed": pack.seed}
        once, twice = (_perf(_command(python), _environment(python), [opening, *[request] * n]) for n in (1, 2))
        if once is not None and twice is not None and twice > once:
            found[case.id] = twice - once
    progress("count", len(cases), len(cases))
    return found


@cache
def _perf_counts() -> bool:
    return shutil.which("perf") is not None and _perf(["true"], dict(os.environ), []) is not None


def _perf(command: list[str], environment: dict[str, str], requests: list[dict[str, Any]]) -> int | None:
    """Instructions of a command with `requests` as its input; None if not counted."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    with tempfile.NamedTemporaryFile("r") as counts:
        perf = ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", counts.name, "--"]
        done = subprocess.run(
            [*perf, *command], input=lines, capture_output=True, text=True, env=environment, check=False
        )
        for line in counts.read().splitlines():
            count, _, rest = line.partition(",")
            if "instructions" in rest and count.isdecimal() and done.returncode == 0:
                return int(count)
    return None


def _opening(model: Path, pack: Pack, threads: int) -> dict[str, Any]:
    return {"open": str(model), "context": pack.corpus.context, "threads": threads}


def _command(python: str | None) -> list[str]:
    return [python or sys.executable, "-P", "-m", _MODULE]


def _environment(python: str | None) -> dict[str, str]:
    """Without PYTHONPATH, which would lead the other Python to this build; with fixed hashes, for stable counts."""
    kept = {name: value for name, value in os.environ.items() if python is None or name != "PYTHONPATH"}
    return kept | {"PYTHONHASHSEED": "0"}
