"""Writing files: whole or not at all, as the core replaces its own."""

from __future__ import annotations

import os
from pathlib import Path

from . import _core
from .errors import FileError, InvalidArgument


def write(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """The whole file or none of it: written aside, on the disk, then renamed. Folders above it are made.

    What is no regular file (a device, a folder) is not replaced. Raises FileError.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(str(target), f"cannot be written: {error.strerror or error}") from None
    try:
        _core.write_file(os.fsencode(target), content.encode() if isinstance(content, str) else content)
    except InvalidArgument as error:
        raise FileError(error.where, f"{error.what}; give another name") from None
    return target
