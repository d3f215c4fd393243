"""Run other programs with a time limit; their output goes to a log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_SECONDS = 600
# The user's settings of builds and Python, which must not affect a release.
_KEPT_AWAY = ("CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_", "SKBUILD_", "PYTHON", "FLYBALL_", "SOURCE_DATE_EPOCH")


class Done(NamedTuple):
    """The result of a program; `why`: its first error line, else its last line, if it failed."""

    well: bool
    output: str
    errors: str
    why: str


class Commands:
    """Runs programs, one at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __call__(
        self,
        command: Sequence[str | Path],
        seconds: float = _SECONDS,
        *,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
        umask: int = -1,
    ) -> Done:
        """Run a program; after the time limit, kill it and all processes that it started."""
        words = [str(word) for word in command]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_AWAY)}
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env={**inherited, **(variables or {})},
                umask=umask,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return self._ended(words, "", "", f"{words[0]}: {error.strerror or error}")
        with process:
            try:
                output, errors = process.communicate(timeout=seconds)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                output, errors = process.communicate()
                return self._ended(words, output, errors, f"timeout after {seconds:g} s")
        why = "" if process.returncode == 0 else _cause(output, errors) or f"exit code {process.returncode}"
        return self._ended(words, output, errors, why)

    def _ended(self, words: list[str], output: str, errors: str, why: str) -> Done:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n{output}{errors}{f'-- {why}' if why else ''}\n")
        return Done(not why, output, errors, why)


def _cause(output: str, errors: str) -> str:
    lines = [line.strip() for line in (output + errors).splitlines() if line.strip()]
    found = next((line for line in lines if re.search(r"\berror: |^ERROR\b", line)), lines[-1] if lines else "")
    return found[:300]
