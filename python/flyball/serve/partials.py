"""Tokens of answers that were not complete when their client or their server went: what resumption need not decode.

Kept for answers that a client may ask for again (Idempotency-Key or Last-Event-ID), in memory and in a file, which a
killed server leaves to the next one. It is no evidence: tokens from it are checked when they are used, and an answer
without them is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from .. import files
from ..errors import FileError

_MOST_BYTES = 64 << 20
_MOST_ANSWERS = 4096


class Partials:
    """For the event loop's thread alone. `path` None: in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._answers: OrderedDict[str, list[int]] = OrderedDict()
        self._file: int | None = None
        self._held: int | None = None  # the lock
        self._lines: list[str] = []
        self._n_bytes = 0
        if path is not None and self._lock(path):
            self._read(path)
            self._compact(path)

    def _lock(self, path: Path) -> bool:
        """Have the file alone, as long as the process lives; False: another server has it."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._held = lock
        return self._held is not None

    def close(self) -> None:
        """Write what is new, and leave the file to another server."""
        self.flush()
        for descriptor in (self._file, self._held):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._held = None

    def take(self, identity: str) -> list[int]:
        """The tokens that are known of an answer."""
        return list(self._answers.get(identity, ()))

    def note(self, identity: str, place: int, token: int) -> None:
        """The answer's token number `place`, from 1."""
        tokens = self._answers.setdefault(identity, [])
        if place <= len(tokens):
            return
        tokens.append(token)
        if self._file is not None:
            self._lines.append(f'["{identity}",{place},{token}]\n')

    def forget(self, identity: str) -> None:
        """The answer is complete, or of no use."""
        if self._answers.pop(identity, None) is not None and self._file is not None:
            self._lines.append(f'["{identity}",0,0]\n')

    def flush(self) -> None:
        """Write what is new: from then on a killed process loses none of it. Called several times a second."""
        while len(self._answers) > _MOST_ANSWERS:
            self._answers.popitem(last=False)
        if self._file is None or not self._lines:
            return
        raw = "".join(self._lines).encode()
        self._lines.clear()
        with suppress(OSError):  # a full disk takes nobody's answer
            self._n_bytes += os.write(self._file, raw)
        if self._n_bytes > _MOST_BYTES and self._path is not None:
            self._compact(self._path)

    def _read(self, path: Path) -> None:
        """What an earlier server left; a torn or foreign line ends an answer's tokens there."""
        with suppress(OSError):
            for line in path.read_bytes()[: 2 * _MOST_BYTES].split(b"\n"):
                with suppress(ValueError, TypeError):
                    identity, place, token = json.loads(line)
                    tokens = self._answers.setdefault(str(identity), [])
                    if place == 0:
                        del self._answers[str(identity)]
                    elif place == len(tokens) + 1 and type(token) is int and 0 <= token < 2**31:
                        tokens.append(token)

    def _compact(self, path: Path) -> None:
        """Write the file anew, without what is complete."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        lines = [
            f'["{identity}",{n},{token}]\n'
            for identity, tokens in self._answers.items()
            for n, token in enumerate(tokens, 1)
        ]
        with suppress(OSError, FileError):
            files.write(path, "".join(lines))
            path.chmod(0o600)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._n_bytes = sum(map(len, lines))
