"""Files: bounded reads, atomic writes, the user's folders."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from . import _core
from .errors import FileError, FormatError, InvalidArgument, NotFound
from .paths import AnyPath, expanded

_MOST_RESERVED = 64 << 20  # a file in memory (tmpfs) takes it


def read(path: AnyPath, most: int) -> bytes:
    """A file's bytes, of which there may be at most `most`. Raises NotFound, FileError or FormatError."""
    name = expanded(path)
    try:
        with open(name, "rb") as file:
            raw = file.read(most + 1)
    except FileNotFoundError:
        raise NotFound(name, "does not exist") from None
    except OSError as error:
        raise FileError(name, f"cannot be read: {error.strerror or error}") from None
    if len(raw) > most:
        raise FormatError(name, f"is longer than {most >> 20} MiB")
    return raw


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


def lacks_room(folder: AnyPath, n_bytes: int) -> str:
    """Why a folder cannot take a file of this size, or "". Reserves a part for a moment: free space has no quotas."""
    name = expanded(folder)
    try:
        free = shutil.disk_usage(name).free
        if free < n_bytes:
            return f"has {free >> 20} MiB free, {n_bytes >> 20} are needed"
        with tempfile.TemporaryFile(dir=name) as file:
            os.posix_fallocate(file.fileno(), 0, min(n_bytes, _MOST_RESERVED))
    except OSError as error:
        return f"cannot take {n_bytes >> 20} MiB: {error.strerror or error}"
    return ""


def state_folder() -> Path | None:
    """The folder of receipts: flyball/ in the user's state folder; None for a user without a home."""
    return _user_folder("XDG_STATE_HOME", ".local/state")


def data_folder() -> Path | None:
    """flyball/ in the user's data folder, which has the models that were pulled; None for a user without a home."""
    return _user_folder("XDG_DATA_HOME", ".local/share")


def cache_file(name: str, *, make: bool = True) -> Path | None:
    """A file in flyball/ in the user's cache folder, or "folder/". `make`: its folders. None: the user has no home."""
    folder = _user_folder("XDG_CACHE_HOME", ".cache")
    if folder is None:
        return None
    path = folder / name
    if make:
        with suppress(OSError):
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
    return path


def _user_folder(variable: str, below_home: str) -> Path | None:
    """Relative paths count as unset, as the XDG specification has it: they would follow the current folder."""
    if os.path.isabs(named := os.environ.get(variable, "")):
        return Path(named) / "flyball"
    home = os.environ.get("HOME", "")
    if not home:
        with suppress(KeyError):  # containers run as users that no file knows
            home = pwd.getpwuid(os.getuid()).pw_dir
    return Path(home) / below_home / "flyball" if os.path.isabs(home) else None
