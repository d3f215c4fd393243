"""The journal on the host: the core's lines in files; verified, continued after a crash, rotated by size.

FILE has the newest lines; FILE.1, FILE.2 ... the earlier ones, oldest first. FILE.head has the chain's last hash and
length, so that a truncated tail is detected. Lines are flushed before the head: a crash loses only unflushed lines.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from io import FileIO
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from .. import _core, files
from ..errors import Error, FileError, VerificationError
from ..paths import AnyPath, expanded
from ..pickling import Unpicklable
from .events import Event

_MAX_LINE = 64 << 10
_HEAD_VERSION = 1
_HEAD_SECONDS = 1.0


class Head(NamedTuple):
    """The head of a chain: the last line's hash, and the number of lines since its beginning."""

    hash: str
    n_lines: int


class Fault(NamedTuple):
    """A fault and its place."""

    file: Path
    line: int  # in that file, from 1
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Report:
    """The result of checking a journal. `torn`: bytes of an incomplete last line, as after a crash."""

    files: tuple[Path, ...]
    n_lines: int
    head: Head
    faults: tuple[Fault, ...]
    torn: int = 0

    @property
    def verified(self) -> bool:
        """Whether every line is intact and none is missing."""
        return not self.faults


class Journal(Unpicklable):
    """Records the events of models: Model.load(path, journal=Journal(file)).

    New lines are written after each answer and at close(); after a failed write, the next one retries them. A killed
    process loses no written line. Each answer also waits for the disk, so a power cut loses none either; with
    `sync_seconds`, answers wait at most once in that time. flush() and close() always wait.
    A file larger than `max_bytes` is renamed to FILE.n; at most `files` of these are kept. A journal that is open
    elsewhere is refused. `log`: a file that also gets each event as a line of text.
    `content`: also record each answer's receipt, with prompt and answer, so that a replay can repeat it.
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
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.lost = 0  # events dropped for lack of memory
        self._log = None if log is None else Path(expanded(log, "log"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(self.path)
        except OSError as error:
            raise FileError(str(self.path), f"cannot be written: {error.strerror or error}") from None
        try:
            self.core = self._continue(bool(content))
        except BaseException:
            self._file.close()
            raise

    def _continue(self, content: bool) -> _core.JournalCore:
        """Continue the chain of the newest file; truncates an incomplete last line."""
        with open(self.path, "rb") as newest:
            begun = newest.readline(_MAX_LINE + 1).endswith(b"\n")
        found = _check(self.path, files_of(self.path)[-1 if begun else -2 :])
        if not found.verified:
            raise VerificationError(str(self.path), f"cannot be continued, {found.faults[0]}; move it away")
        self.recovered = found.torn  # bytes of the truncated last line
        if found.torn:
            self._file.truncate(os.path.getsize(self.path) - found.torn)
        return _core.JournalCore(found.head.hash, found.head.n_lines, content)

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
            _write_head(self.path, self._end)
            self._end, self._headed = None, now

    def _rotate(self) -> None:
        """Rename the file, then delete the oldest; a crash between any two steps leaves a valid journal."""
        older = _older(self.path)
        last = _number(older[-1]) if older else 0
        self.path.replace(self.path.with_name(f"{self.path.name}.{last + 1}"))
        full, self._file = self._file, _open(self.path)
        full.close()
        for file in older[: max(0, len(older) + 1 - self._files)]:
            file.unlink(missing_ok=True)


def _open(path: Path) -> FileIO:
    """Open and lock for appending; a second writer would fork the chain."""
    file = FileIO(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        what = "is open in another program or journal; give another name"
        raise BlockingIOError(error.errno, what, str(path)) from None
    except OSError:
        pass  # a file system without locks
    return file


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


def files_of(path: AnyPath) -> list[Path]:
    """The journal's files, oldest first."""
    newest = Path(expanded(path))
    return [*_older(newest), *([newest] if newest.exists() else [])]


def read(path: AnyPath, faults: list[Fault] | None = None) -> Iterator[Event]:
    """The events of a journal, oldest first. Damaged lines are skipped, and added to `faults` if that is given."""
    for found in _walk(files_of(path), []):
        if isinstance(found, Event):
            yield found
        elif faults is not None:
            faults.append(found)


def follow(path: AnyPath) -> Iterator[Event | Fault | None]:
    """The lines of a journal, including those appended later; None: no new line yet. Never ends."""
    newest = Path(expanded(path))
    chain = _core.JournalCheck()
    for file in _older(newest):
        with file.open("rb") as lines:
            yield from (_event(chain, file, number, line) for number, line in enumerate(lines, 1))
    while True:
        try:
            lines = newest.open("rb")
        except FileNotFoundError:  # not yet created after a rotation
            yield None
            continue
        with lines:
            number, renamed = 0, False
            while True:
                begin = lines.tell()
                line = lines.readline(_MAX_LINE + 1)
                if line.endswith(b"\n") or len(line) > _MAX_LINE:
                    number += 1
                    yield _event(chain, newest, number, line)
                    continue
                lines.seek(begin)  # end of file, or a line that is still being written
                if renamed:
                    break
                renamed = not _is(newest, lines.fileno())  # rotated: read what was appended before, then reopen
                if not renamed:
                    yield None


def check(path: AnyPath, log: AnyPath | None = None) -> Report:
    """Read a whole journal and its head, and report all faults. `log`: also compare its events."""
    newest = Path(expanded(path))
    report = _check(newest, files_of(newest))
    if log is None:
        return report
    return replace(report, faults=(*report.faults, *_compare_log(newest, Path(expanded(log, "log")))))


def _check(newest: Path, files: list[Path]) -> Report:
    """As check(), for these files only; the last one is the newest."""
    torn: list[int] = []
    faults: list[Fault] = []
    hashes: dict[int, str] = {}
    last = Head("", 0)
    n_lines = 0
    for found in _walk(files, torn):
        if isinstance(found, Fault):
            faults.append(found)
            continue
        n_lines += 1
        last = Head(found.hash, found.number + 1)
        hashes[found.number] = found.hash
    try:
        exported = _read_head(newest)
    except ValueError as error:
        exported = None
        faults.append(Fault(_head_path(newest), 1, str(error)))
    if exported is not None and exported.n_lines:
        known = hashes.get(exported.n_lines - 1)
        if exported.n_lines > last.n_lines:
            missing = exported.n_lines - last.n_lines
            faults.append(
                Fault(newest, n_lines + 1, f"{missing} lines are missing here, according to {_head_path(newest)}")
            )
        elif known is not None and known != exported.hash:
            faults.append(Fault(newest, n_lines, f"the chain differs from that of {_head_path(newest)}"))
    return Report(tuple(files), n_lines, last, tuple(faults), sum(torn))


def _compare_log(newest: Path, log: Path) -> Iterator[Fault]:
    """The first line where journal and log differ; a log that begins earlier or later differs too."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            for number, (line, made) in enumerate(zip_longest(lines, _log_lines(newest)), 1):
                if line is None or made is None:
                    yield Fault(
                        log, number, "the log ends here, the journal continues" if made else "not in the journal"
                    )
                    return
                if line.rstrip("\n") != made:
                    yield Fault(log, number, "differs from the journal's event")
                    return
    except OSError as error:
        raise FileError(str(log), f"cannot be read: {error.strerror or error}") from None


def _log_lines(newest: Path) -> Iterator[str]:
    for file in files_of(newest):
        with open(file, "rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield _core.log_line(line.removesuffix(b"\n"))


def _walk(files: list[Path], torn: list[int]) -> Iterator[Event | Fault]:
    """Every line of the files, as an Event or a Fault."""
    chain = _core.JournalCheck()
    for file in files:
        try:
            with open(file, "rb") as lines:
                for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE + 1), b""), 1):
                    if not line.endswith(b"\n") and file == files[-1] and len(line) <= _MAX_LINE:
                        torn.append(len(line))  # an incomplete line, from a crash while writing
                        return
                    yield _event(chain, file, number, line)
        except OSError as error:
            raise FileError(str(file), f"cannot be read: {error.strerror or error}") from None


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _event(chain: _core.JournalCheck, file: Path, number: int, line: bytes) -> Event | Fault:
    try:
        return Event.from_core(chain.next(line.removesuffix(b"\n")))
    except Error as error:
        return Fault(file, number, error.what)


def _older(newest: Path) -> list[Path]:
    """FILE.1, FILE.2, ... in this order, as far as they exist."""
    if not newest.parent.is_dir():
        return []
    prefix = newest.name + "."
    found = (file for file in newest.parent.iterdir() if file.name.startswith(prefix))
    return sorted((file for file in found if file.name.removeprefix(prefix).isdecimal()), key=_number)


def _number(file: Path) -> int:
    return int(file.name.rpartition(".")[2])


def _head_path(path: Path) -> Path:
    return path.with_name(path.name + ".head")


def _write_head(path: Path, head: Head) -> None:
    files.write(_head_path(path), json.dumps({"version": _HEAD_VERSION, **head._asdict()}) + "\n")


def _read_head(path: Path) -> Head | None:
    """The head in FILE.head, or None without that file; raises ValueError if it is invalid."""
    file = _head_path(path)
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("version") != _HEAD_VERSION:
        raise ValueError(f"is not of version {_HEAD_VERSION}")
    hash, n_lines = found.get("hash"), found.get("n_lines")
    if not isinstance(hash, str) or not isinstance(n_lines, int):
        raise ValueError("has no valid hash or number of lines")
    return Head(hash, n_lines)
