"""Atomic file writes, as the core does them."""

from __future__ import annotations

import os
from pathlib import Path

from . import _core
from .errors import FileError, InvalidArgument
from .paths import AnyPath, expanded


def write(path: AnyPath, content: str | bytes) -> Path:
    """Write a file atomically: to a temporary file that is flushed and renamed. Creates parent folders.

    Raises FileError, also if the path exists and is not a regular file (a device, a folder).
    """
    target = Path(expanded(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(str(target), f"cannot be written: {error.strerror or error}") from None
    try:
        _core.write_file(os.fsencode(target), content.encode() if isinstance(content, str) else content)
    except InvalidArgument as error:
        raise FileError(error.where, f"{error.what}; give another name") from None
    return target
