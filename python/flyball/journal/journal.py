"""The journal on the host: the core's lines in files; continued after a crash, rotated by size, set aside when damaged.

Lines are flushed before the head, and the head before the oldest file is deleted: a crash loses only unflushed lines,
and between any two steps it leaves a journal that holds.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import math
import os
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path

from .. import _core
from ..errors import Error, FileError
from ..paths import AnyPath, expanded
from ..pickling import Unpicklable
from .chain import (
    MAX_LINE,
    UNENDED,
    ZEROS,
    Begin,
    Fault,
    Head,
    Report,
    begin_of,
    check,
    check_files,
    files_of,
    follow,
    head_path,
    is_file,
    number_of,
    older,
    read,
    read_head,
    write_head,
)

__all__ = ["Fault", "Head", "Journal", "Report", "Unwritable", "check", "files_of", "follow", "read"]

_HEAD_SECONDS = 1.0
_BEGIN = b'{"v":'  # of a line; other files are not touched


class Unwritable(FileError):
    """The journal's file cannot be opened, for a reason that is not its name: a full disk, a missing permission."""


class Journal(Unpicklable):
    """Records the events of models: Model.load(path, journal=Journal(file)).

    New lines are written after each answer and at close(); after a failed write, the next one retries them. A killed
    process loses no written line. Each answer also waits for the disk, so a power cut loses none either; with
    `sync_seconds`, answers wait at most once in that time. flush() and close() always wait.
    A file larger than `max_bytes` is renamed to FILE.n; at most `files` of these are kept. A journal that is open
    elsewhere is refused. `log`: a file that also gets each event as a line of text.
    `content`: also record each answer's receipt, with prompt and answer, so that a replay can repeat it.
    A journal that is damaged where it would go on is set aside: all its files are renamed, with a warning, and a new
    one begins whose first event says so. Raises FileError for what is not a journal, Unwritable for what cannot be
    opened.
    """

    _instead = "one process writes a journal; give each its own file"

    def __init__(
        self,
        path: AnyPath,
        max_bytes: int = 8 << 20,
        files: int = 8,
        log: AnyPath | None = None,
        content: bool = False,
        sync_seconds: float = 0,
    ) -> None:
        self.path = Path(expanded(path))
        self._sync_seconds = sync_seconds
        self._synced = self._headed = -math.inf  # when lines and head were last flushed to the disk
        self._end: Head | None = None  # not yet written to FILE.head
        self._is_synced = True
        self._max_bytes = max_bytes
        self._files = files
        self._waiting = self._waiting_log = b""  # lines not yet written
        self._exported = Head(ZEROS, 0)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.lost = 0  # events dropped for lack of memory
        self.recovered = 0  # bytes of an incomplete last line that was truncated
        self._log = None if log is None else Path(expanded(log, "log"))
        if self._log is not None:
            _refuse_other_than_files(self._log)
        self._file = self._open()
        try:
            self.core = self._continue(bool(content))
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError) and not isinstance(error, Error):
                raise Unwritable(str(self.path), f"cannot be written: {error.strerror or error}") from None
            raise

    def _open(self) -> FileIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _open(self.path)
        except FileError:
            raise
        except OSError as error:
            raise Unwritable(str(self.path), f"cannot be written: {error.strerror or error}") from None

    def _continue(self, content: bool) -> _core.JournalCore:
        """Continue the chain of the newest file; truncates an incomplete last line."""
        with open(self.path, "rb") as newest:
            first = newest.readline(MAX_LINE + 1)
        files = files_of(self.path)
        found = check_files(self.path, files[-1 if first.endswith(b"\n") else -2 :], whole=False)
        is_alone = not found.n_lines and len(files) == 1 and not os.path.lexists(head_path(self.path))
        if is_alone and (found.faults or not first.startswith(_BEGIN[: len(first)])):
            raise FileError(str(self.path), "has no line of a journal; give another name")
        if any(fault.what != UNENDED for fault in found.faults):
            return self._begin_anew(found, content)
        self.recovered = found.torn
        if found.torn:
            self._file.truncate(os.path.getsize(self.path) - found.torn)
        if found.unended:
            self._file.write(b"\n")
        exported = read_head(self.path)
        self._begin = (exported.begin if exported else None) or begin_of(files)
        core = _core.JournalCore(found.head.hash, found.head.n_lines, content)
        if exported is None:
            if found.n_lines:
                core.tell("JOURNAL_HEAD_MISSING", json.dumps({"n_lines": found.head.n_lines, "hash": found.head.hash}))
            with suppress(FileError):  # the first lines will tell
                write_head(self.path, found.head, self._begin)  # so that a journal without one has lost it
        return core

    def _begin_anew(self, found: Report, content: bool) -> _core.JournalCore:
        """Set aside a journal that cannot go on, and begin another."""
        first = found.faults[0]
        fault = f"{os.fsencode(first.file.name).decode('utf-8', 'backslashreplace')}:{first.line}: {first.what}"
        aside, moved = _set_aside(self.path)
        damaged, self._file = self._file, self._open()
        damaged.close()
        self._begin = Begin()
        self.core = _core.JournalCore("", 0, content)
        about = {"files": moved, "n_lines": found.head.n_lines, "hash": found.head.hash, "fault": fault}
        self.core.tell("JOURNAL_SET_ASIDE", json.dumps(about))
        with suppress(FileError):
            write_head(self.path, Head(ZEROS, 0), self._begin)
        self._keep()
        text = f"{self.path}: cannot go on, {fault}; it was set aside as {aside.name}, and a new one begins"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
        return self.core

    @property
    def waiting(self) -> int:
        """How many recorded events a failed write has left; the next write repeats them."""
        return self._waiting.count(b"\n")

    @property
    def head(self) -> Head:
        """The chain's head; a copy kept elsewhere proves later that no line was removed or rewritten."""
        return Head(*self.core.head())

    def tell(self, reason_id: str, data: Mapping[str, object]) -> None:
        """Add an event without a session; `reason_id` is from the registry. The next flush() writes it."""
        self.core.tell(reason_id, json.dumps(data))

    def flush(self) -> None:
        """Write all recorded events and wait for the disk."""
        self._take(True)

    def _keep(self) -> None:
        """Write after an answer, waiting as `sync_seconds` says. An error only warns, as the answer is complete."""
        try:
            self._take(False)
        except FileError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def _take(self, all_now: bool) -> None:
        if os.getpid() != self._process:
            raise FileError(
                str(self.path), "is the journal of the process that opened it; a fork's child needs its own"
            )
        with self._lock:
            if self._file.closed:
                raise FileError(str(self.path), "is closed, so this event is not recorded")
            lines, lost = self.core.take()
            self.lost += lost
            self._waiting += lines
            try:
                self._write(all_now)
            except FileError:
                raise
            except OSError as error:
                file = error.filename or self.path
                raise FileError(str(file), f"cannot be written: {error.strerror or error}") from None

    def close(self) -> None:
        """Flush and close the file."""
        if self._file.closed:
            return
        try:
            if os.getpid() == self._process:
                self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, all_now: bool) -> None:
        """Append all waiting lines to each file or none; a failure of the log never loses a line of the journal."""
        if self._waiting:
            self._stay_in_place()
            _append(self._file, self._waiting)
            lines = self._waiting.splitlines()
            self._waiting = b""
            self._is_synced = False
            last = json.loads(lines[-1])
            self._end = Head(last["hash"], last["seq"] + 1)
            if self._log is not None:
                self._waiting_log += "".join(_core.log_line(line) + "\n" for line in lines).encode()
        full = self._file.tell() > self._max_bytes
        self._settle(all_now or full)
        if self._waiting_log and self._log is not None:
            with open(self._log, "ab", buffering=0) as log:
                _append(log, self._waiting_log)
            self._waiting_log = b""
        if full:
            self._rotate()

    def _settle(self, all_now: bool) -> None:
        """Flush the lines, then write the head; that costs two more waits, so it is done once a second."""
        now = time.monotonic()
        if not self._is_synced and (all_now or now - self._synced >= self._sync_seconds):
            os.fsync(self._file.fileno())
            self._is_synced, self._synced = True, now
        if self._end is not None and self._is_synced and (all_now or now - self._headed >= _HEAD_SECONDS):
            write_head(self.path, self._end, self._begin)
            self._exported, self._end, self._headed = self._end, None, now

    def _stay_in_place(self) -> None:
        """Where another program has moved or removed the file, go on in a new one; a check tells what is missing."""
        if is_file(self.path, self._file.fileno()):
            return
        with suppress(FileNotFoundError):
            if self.path.stat().st_size:
                return  # somebody else's
        moved, self._file = self._file, self._open()
        moved.close()

    def _rotate(self) -> None:
        """Rename the file, then delete the oldest, which the head has to allow first."""
        rotated = older(self.path)
        number = number_of(rotated[-1]) + 1 if rotated else 1
        rotated.append(self.path.replace(self.path.with_name(f"{self.path.name}.{number}")))
        full, self._file = self._file, self._open()
        full.close()
        n_surplus = max(0, len(rotated) - self._files)
        if n_surplus:
            self._begin = begin_of([*rotated[n_surplus:], self.path])
            write_head(self.path, self._exported, self._begin)
        for file in rotated[:n_surplus]:
            file.unlink(missing_ok=True)


def _open(path: Path) -> FileIO:
    """Open and lock for appending; a second writer would fork the chain."""
    _refuse_other_than_files(path)
    for _ in range(9):
        file = FileIO(path, "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise FileError(str(path), "is open in another program or journal; give another name") from None
        except OSError:
            pass  # a file system without locks
        if is_file(path, file.fileno()):
            break
        file.close()  # its writer has renamed it since
    return file


def _refuse_other_than_files(path: Path) -> None:
    if path.exists() and not path.is_file():  # opening a pipe would wait for its reader
        raise FileError(str(path), "is no regular file; give another name")


def _append(file: FileIO, lines: bytes) -> None:
    """Append all of the lines, or none of them if that fails."""
    begin = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(begin)
        raise


def _set_aside(path: Path) -> tuple[Path, list[str]]:
    """Rename the files of a journal and its head to a name that is free; returns it, and their new names."""
    known = {file.name for file in path.parent.iterdir()}
    for n in itertools.count(1):
        aside = path.with_name(f"{path.name}.broken-{n}")
        if not any(name == aside.name or name.startswith(aside.name + ".") for name in known):
            break
    moved = []
    for file in (*older(path), path, head_path(path)):
        if os.path.lexists(file):
            ending = file.name.removeprefix(path.name)
            moved.append(file.rename(aside.with_name(aside.name + ending)).name)
    return aside, [os.fsencode(name).decode("utf-8", "backslashreplace") for name in moved]
