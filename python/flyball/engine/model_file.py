"""What values that outlive a model know of its file."""

from __future__ import annotations

import os
import re
import weakref

from .. import _core
from ..errors import FileError

_FIRST_PART = re.compile(r"(.*)-00001-of-(\d{5})(\.gguf)", re.DOTALL | re.IGNORECASE)


def part_paths(path: str) -> list[str]:
    """All parts of a model by the name of its first; of another name the path alone."""
    first = _FIRST_PART.fullmatch(path)
    if not first:
        return [path]
    name, count, ending = first.groups()
    return [f"{name}-{i + 1:05}-of-{count}{ending}" for i in range(int(count))]


class ModelFile:
    """A model's file as it was when the model was loaded. Small, and without a reference that keeps the model."""

    def __init__(self, path: str | bytes, core: _core.ModelCore) -> None:
        self.path = os.path.abspath(os.fsdecode(path))
        self._core: weakref.ref[_core.ModelCore] | None = weakref.ref(core)
        self._identity = self._identify()
        self._fingerprint: str | None = None

    def fingerprint(self) -> str:
        """As ModelInfo.fingerprint. Without the model, its file is read; raises FileError if it has changed."""
        if self._fingerprint is None:
            core = self._core() if self._core is not None else None
            self._fingerprint = core.fingerprint(None, False) if core is not None and not core.closed else self._read()
        return self._fingerprint

    def _read(self) -> str:
        self._check()
        core = _core.ModelCore.load(os.fsencode(self.path), "auto", 0, 0, 0, True, None, None, b"")
        fingerprint = core.fingerprint(None, False)
        self._check()
        return fingerprint

    def _check(self) -> None:
        if self._identity[0] is None or self._identify() != self._identity:
            what = (
                "has changed since the model was loaded, so what answered has no fingerprint any more; "
                "take an answer's digest or receipt while its model is loaded"
            )
            raise FileError(self.path, what)

    def _identify(self) -> list[tuple[int, ...] | None]:
        """Device, inode, bytes, time of writing and of change of each part; None for one that cannot be seen.

        A whole file may be named like a first part: then there are no others.
        """
        return [_identity(part) for part in part_paths(self.path)]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_core": None}


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        file = os.stat(path)
    except OSError:
        return None
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns
