"""A file of alerts, a JSON object a line, that any number of processes append to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import files
from ..errors import FileError
from ..paths import AnyPath, expanded

_MOST_BYTES = 256 << 20
_SHOWN = 80


def append(path: AnyPath, alert: Mapping[str, Any]) -> None:
    """Append a line, and flush it to the disk. Raises FileError.

    One write under a lock. A writer that was killed may have left a piece of a line: it gets an end of its own, so that
    it spoils no other and a reader can tell of it.
    """
    name = expanded(path)
    line = json.dumps(alert, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        file = os.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it when the process ends, however it ends
            end = os.fstat(file).st_size
            if end and os.pread(file, 1, end - 1) != b"\n":
                line = b"\n" + line
            written = os.write(file, line)
            if written != len(line):
                os.ftruncate(file, end)
                raise FileError(name, "has no room for an alert; free some space")
            os.fsync(file)
        finally:
            os.close(file)
    except FileError:
        raise
    except OSError as error:
        raise FileError(name, f"cannot be written: {error.strerror or error}; --alerts names another file") from None


class Broken(NamedTuple):
    """A line that is no alert: its number from 1, and how it begins."""

    line: int
    text: str


class Alerts(NamedTuple):
    """What a file has: its alerts, and each line that is none."""

    entries: list[dict[str, Any]]
    broken: list[Broken]


def read(path: AnyPath) -> Alerts:
    """All lines of a file, in order. Raises NotFound, FileError or FormatError."""
    found = Alerts([], [])
    for number, line in enumerate(files.read(path, _MOST_BYTES).split(b"\n"), 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            found.entries.append(entry)
        else:
            found.broken.append(Broken(number, line[:_SHOWN].decode(errors="replace")))
    return found
