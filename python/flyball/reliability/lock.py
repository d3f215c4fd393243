"""Locks of the folder: flock, or on a file system without it a file that names its owner."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import FileError, InvalidArgument

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_PATIENCE_S = 2.0  # for a lock that is held for milliseconds
_POLL_S = 0.02


class InUse(InvalidArgument):
    """Another process has the lock."""


@contextmanager
def locked(path: Path, who: str, tell: bool = True) -> Iterator[None]:
    """Hold the lock file; raises InUse, which names `who` holds it, or FileError. `tell`: warn if there is no flock."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                raise InUse(str(path.parent), f"is in use by {who}") from None
            if error.errno not in _UNSUPPORTED:
                raise FileError(str(path), f"cannot be locked: {error.strerror or error}") from None
            with _owned(path.with_name(f"{path.name}.owner"), who, tell):
                yield
        else:
            yield
    finally:
        os.close(file)


@contextmanager
def briefly(path: Path) -> Iterator[None]:
    """Hold a lock that others hold for milliseconds only; a holder that was stopped delays, but never prevents."""
    end = time.monotonic() + _PATIENCE_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path, "another command", tell=False))
            except InUse:
                if time.monotonic() < end:
                    time.sleep(_POLL_S)
                    continue
            break
        yield


@contextmanager
def _owned(path: Path, who: str, tell: bool) -> Iterator[None]:
    """Hold a file that only one process can create; one whose process has ended is set aside."""
    mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started(os.getpid())}).encode()
    left = ""
    if not _create(path, mine):
        left = _set_aside(path, who)
        if not _create(path, mine):
            raise InUse(str(path.parent), f"is in use by {who}")
    if tell:
        warnings.warn(f"{path.parent}: this file system has no locks, so that {path.name} is used{left}", stacklevel=2)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def _create(path: Path, content: bytes) -> bool:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {error.strerror or error}") from None
    try:
        os.write(file, content)
    except OSError as error:
        path.unlink()
        raise FileError(str(path), f"cannot be written: {error.strerror or error}") from None
    finally:
        os.close(file)
    return True


def _set_aside(path: Path, who: str) -> str:
    """Remove the file of a process that has ended, and say so; raises InUse if it may go on."""
    with suppress(FileNotFoundError):  # it has just ended
        held = _content(path)
        try:
            owner = json.loads(held)
            pid, host, began = owner["pid"], owner["host"], owner["started"]
        except (ValueError, KeyError, TypeError):
            pid, host, began = 0, socket.gethostname(), ""  # its process ended before it wrote
        if host != socket.gethostname():
            hint = f"process {pid} of {host}; if that has ended, delete {path}"
            raise InUse(str(path.parent), f"is in use by {who}: {hint}")
        if isinstance(pid, int) and pid > 0 and started(pid) == began:
            raise InUse(str(path.parent), f"is in use by {who}: process {pid}")
        stale = path.with_name(f"{path.name}.stale-{os.getpid()}")
        path.rename(stale)
        if stale.read_bytes() != held:  # another process was faster, and this is its file
            stale.rename(path)
            raise InUse(str(path.parent), f"is in use by {who}")
        stale.unlink()
        return f"; that of process {pid}, which has ended, is removed"
    return ""


def _content(path: Path) -> bytes:
    """Of the owner's file, which is empty for an instant."""
    for _ in range(50):
        held = path.read_bytes()
        if held:
            break
        time.sleep(_POLL_S)
    return held


def started(pid: int) -> str:
    """When a process began, in ticks since the boot with the boot's name; empty if there is none."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {ticks}"
    except (OSError, IndexError):
        return ""
