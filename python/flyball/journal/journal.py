"""The journal on the host: lines from the core in files, checked, continued after a crash, rotated by size.

FILE holds the newest lines, FILE.1, FILE.2 ... those before, the oldest first. FILE.head says where the chain stands,
so that a tail which is cut off is missed. Lines are on the disk before the head is: a crash at any byte loses what was
not flushed, no more.
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
from .events import Event

_MAX_LINE = 64 << 10
_HEAD_VERSION = 1
_HEAD_SECONDS = 1.0


class Head(NamedTuple):
    """Where a chain stands: the last line's hash, and how many lines there were since its beginning."""

    hash: str
    n_lines: int


class Fault(NamedTuple):
    """What is wrong, and where."""

    file: Path
    line: int  # in that file, from 1
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Report:
    """What reading a whole journal found. `torn`: bytes behind the last whole line, as a crash leaves them."""

    files: tuple[Path, ...]
    n_lines: int
    head: Head
    faults: tuple[Fault, ...]
    torn: int = 0

    @property
    def verified(self) -> bool:
        """Whether every line is as it was written, and none is missing."""
        return not self.faults


class Journal:
    """Keeps what the models that it is given to tell: Model.load(path, journal=Journal(file)).

    After each answer, and at close(), new lines are written; what could not be is tried again with the next. A killed
    process loses none of them. So that a power cut does not either, each answer waits for the disk; with `sync_seconds`
    only one in so many seconds does, as flush() and close() always do.
    A file of more than `max_bytes` is renamed to FILE.n, and at most `files` of such are kept. A journal that another
    one writes is refused. `log` is a file that gets each event as a line of text, too.
    `content`: with the receipt of each answer, which has the prompt and the answer, so that a replay can repeat them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = 8 << 20,
        files: int = 8,
        log: str | os.PathLike[str] | None = None,
        content: bool = False,
        sync_seconds: float = 0,
    ) -> None:
        self.path = Path(path)
        self._sync_seconds = sync_seconds
        self._synced = self._headed = -math.inf  # when lines and head were last on the disk
        self._end: Head | None = None  # of lines that are not yet counted by FILE.head
        self._is_synced = True
        self._max_bytes = max_bytes
        self._files = files
        self._waiting = self._waiting_log = b""  # lines that could not yet be written
        self._lock = threading.Lock()
        self.lost = 0  # events for which there was no memory
        self._log = None if log is None else Path(log)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(self.path)
        except OSError as error:
            raise FileError(str(self.path), f"cannot be written: {error.strerror or error}") from None
        try:
            self.core = self._go_on(bool(content))
        except BaseException:
            self._file.close()
            raise

    def _go_on(self, content: bool) -> _core.JournalCore:
        """The chain from where the newest file leaves it, without what a crash has torn."""
        with open(self.path, "rb") as newest:
            begun = newest.readline(_MAX_LINE + 1).endswith(b"\n")
        found = _check(self.path, files_of(self.path)[-1 if begun else -2 :])
        if not found.verified:
            raise VerificationError(str(self.path), f"cannot be continued, {found.faults[0]}; move it away")
        self.recovered = found.torn  # bytes of a torn last line, cut off
        if found.torn:
            self._file.truncate(os.path.getsize(self.path) - found.torn)
        return _core.JournalCore(found.head.hash, found.head.n_lines, content)

    @property
    def head(self) -> Head:
        """Where the chain stands; keep it elsewhere to prove later that nothing was cut off or written anew."""
        return Head(*self.core.head())

    def tell(self, reason_id: str, data: Mapping[str, object]) -> None:
        """Add an event of no session, with a reason from the registry; written by the next flush()."""
        self.core.tell(reason_id, json.dumps(data))

    def flush(self) -> None:
        """Write what the models have told since the last time, and wait until it is on the disk."""
        self._take(True)

    def _keep(self) -> None:
        """After an answer: waits for the disk as was asked for. A full one is a warning, for the answer is there."""
        try:
            self._take(False)
        except FileError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def _take(self, all_now: bool) -> None:
        with self._lock:
            if self._file.closed:
                raise FileError(str(self.path), "is closed: what happens now is not kept")
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
        """Flush, and write nothing more."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, all_now: bool) -> None:
        """Each file takes all of its lines or none; what it did not take waits. A log is no reason to lose a line."""
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
        """The lines to the disk, then the head that counts them: two waits more, for which once a second will do."""
        now = time.monotonic()
        if not self._is_synced and (all_now or now - self._synced >= self._sync_seconds):
            os.fsync(self._file.fileno())
            self._is_synced, self._synced = True, now
        if self._end is not None and self._is_synced and (all_now or now - self._headed >= _HEAD_SECONDS):
            _write_head(self.path, self._end)
            self._end, self._headed = None, now

    def _rotate(self) -> None:
        """One rename, then what is too old: a crash between any two steps leaves a journal that holds."""
        older = _older(self.path)
        last = _number(older[-1]) if older else 0
        self.path.replace(self.path.with_name(f"{self.path.name}.{last + 1}"))
        full, self._file = self._file, _open(self.path)
        full.close()
        for file in older[: max(0, len(older) + 1 - self._files)]:
            file.unlink(missing_ok=True)


def _open(path: Path) -> FileIO:
    """For appending, by this journal alone: another one would continue the same chain."""
    file = FileIO(path, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        what = "another program or journal writes it; give another name"
        raise BlockingIOError(error.errno, what, str(path)) from None
    except OSError:
        pass  # a file system without locks
    return file


def _append(file: FileIO, lines: bytes) -> None:
    """All of the lines, or none of them: the next try begins where this one did."""
    begin = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(begin)
        raise


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The journal's files, oldest first."""
    newest = Path(path)
    return [*_older(newest), *([newest] if newest.exists() else [])]


def read(path: str | os.PathLike[str], faults: list[Fault] | None = None) -> Iterator[Event]:
    """The events of a journal, oldest first. Lines that do not hold are left out, and told in `faults` where given."""
    for found in _walk(files_of(path), []):
        if isinstance(found, Event):
            yield found
        elif faults is not None:
            faults.append(found)


def follow(path: str | os.PathLike[str]) -> Iterator[Event | Fault | None]:
    """The lines of a journal, and without end those that are written later; None: nothing more for now."""
    newest = Path(path)
    chain = _core.JournalCheck()
    for file in _older(newest):
        with file.open("rb") as lines:
            yield from (_event(chain, file, number, line) for number, line in enumerate(lines, 1))
    while True:
        try:
            lines = newest.open("rb")
        except FileNotFoundError:  # not yet there, after those before
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
                lines.seek(begin)  # nothing, or the half of a line that is being written
                if renamed:
                    break
                renamed = not _is(newest, lines.fileno())  # it was full; what came before that is read
                if not renamed:
                    yield None


def check(path: str | os.PathLike[str], log: str | os.PathLike[str] | None = None) -> Report:
    """Read a whole journal, and its head, and report each fault. `log`: whether it has the same events."""
    newest = Path(path)
    report = _check(newest, files_of(newest))
    return report if log is None else replace(report, faults=(*report.faults, *_compare_log(newest, Path(log))))


def _check(newest: Path, files: list[Path]) -> Report:
    """As check(), of these files alone, which end with the newest."""
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
                Fault(newest, n_lines + 1, f"{missing} lines were cut off here: {_head_path(newest)} has more")
            )
        elif known is not None and known != exported.hash:
            faults.append(Fault(newest, n_lines, f"the chain is another than that of {_head_path(newest)}"))
    return Report(tuple(files), n_lines, last, tuple(faults), sum(torn))


def _compare_log(newest: Path, log: Path) -> Iterator[Fault]:
    """Where journal and log do not say the same; a log that begins later or earlier does not."""
    try:
        with log.open(encoding="utf-8", errors="replace") as told:
            for number, (line, made) in enumerate(zip_longest(told, _log_lines(newest)), 1):
                if line is None or made is None:
                    yield Fault(log, number, "the log ends here, the journal goes on" if made else "not in the journal")
                    return
                if line.rstrip("\n") != made:
                    yield Fault(log, number, "is not the journal's event")
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
    """Every line of the files, as an event or as what is wrong with it."""
    chain = _core.JournalCheck()
    for file in files:
        try:
            with open(file, "rb") as lines:
                for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE + 1), b""), 1):
                    if not line.endswith(b"\n") and file == files[-1] and len(line) <= _MAX_LINE:
                        torn.append(len(line))  # what a crash in the middle of a write leaves
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
    """FILE.1, FILE.2, ... as far as they are kept."""
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
    """Where the chain stood when it was last written; ValueError: cannot be told."""
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
        raise ValueError("has no hash and no number of lines")
    return Head(hash, n_lines)
