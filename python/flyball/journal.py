"""The journal on the host: lines from the core in files, checked, continued after a crash, rotated by size.

FILE holds the newest lines, FILE.1, FILE.2 ... those before, the oldest first. FILE.head says where the chain stands,
so that a tail which is cut off is missed. Lines are on the disk before the head is: a crash at any byte loses what was
not flushed, no more.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from . import _core
from .errors import Error, FileError, FormatError, VerificationError
from .events import Event

_MAX_LINE = 64 << 10
_HEAD_VERSION = 1


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
    def holds(self) -> bool:
        """Whether every line is as it was written, and none is missing."""
        return not self.faults


class Journal:
    """Keeps what the models that it is given to tell: Model.load(path, journal=Journal(file)).

    After each answer, and at close(), new lines are written and flushed to the disk; what could not be written is tried
    again with the next. A file of more than `max_bytes` is renamed to FILE.n, and at most `files` of such are kept. One
    process writes a journal at a time. `log` is a file that gets each event as a line of text, too.
    `content`: with the receipt of each answer, which has the prompt and the answer, so that a replay can repeat them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = 8 << 20,
        files: int = 8,
        log: str | os.PathLike[str] | None = None,
        content: bool = False,
    ) -> None:
        self.path = Path(path)
        self._max_bytes = max_bytes
        self._files = files
        self._waiting = b""
        self._lock = threading.Lock()
        self.lost = 0  # events for which there was no memory
        found = check(self.path) if files_of(self.path) else None
        if found is not None and not found.holds:
            raise VerificationError(str(self.path), f"cannot be continued, {found.faults[0]}; move it away")
        self.recovered = found.torn if found else 0  # bytes of a torn last line, cut off
        self._log = None if log is None else Path(log)
        start = found.head if found else Head("", 0)
        self.core = _core.JournalCore(start.hash, start.n_lines, bool(content))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            if self.recovered:
                self._file.truncate(os.path.getsize(self.path) - self.recovered)
        except OSError as error:
            raise FileError(str(self.path), f"cannot be written: {error.strerror or error}") from None

    @property
    def head(self) -> Head:
        """Where the chain stands; keep it elsewhere to prove later that nothing was cut off or written anew."""
        return Head(*self.core.head())

    def tell(self, reason_id: str, data: Mapping[str, object]) -> None:
        """Add an event of no session, with a reason from the registry; written by the next flush()."""
        self.core.tell(reason_id, json.dumps(data))

    def flush(self) -> None:
        """Write what the models have told since the last time, and wait until it is on the disk."""
        with self._lock:
            lines, lost = self.core.take()
            self.lost += lost
            self._waiting += lines
            if self._waiting:
                self._write()

    def keep(self) -> None:
        """flush() after an answer: a full disk is a warning, for the answer is there."""
        try:
            self.flush()
        except FileError as error:
            warnings.warn(str(error), RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """Flush, and write nothing more."""
        self.flush()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self) -> None:
        begin = self._file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(self._waiting)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
            lines = self._waiting.splitlines()
            last = json.loads(lines[-1])
            if self._log is not None:
                with self._log.open("a", encoding="utf-8") as log:
                    log.writelines(_core.log_line(line) + "\n" for line in lines)
            self._waiting = b""
            _write_head(self.path, Head(last["hash"], last["seq"] + 1))
            if self._file.tell() > self._max_bytes:
                self._rotate()
        except OSError as error:
            if self._waiting:  # no half of them, so that the next try begins where this one did
                self._file.truncate(begin)
            raise FileError(str(self.path), f"cannot be written: {error.strerror or error}") from None

    def _rotate(self) -> None:
        """One rename, then what is too old: a crash between any two steps leaves a journal that holds."""
        self._file.close()
        older = _older(self.path)
        last = _number(older[-1]) if older else 0
        self.path.replace(self.path.with_name(f"{self.path.name}.{last + 1}"))
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        for file in older[: max(0, len(older) + 1 - self._files)]:
            file.unlink(missing_ok=True)


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The journal's files, oldest first."""
    newest = Path(path)
    return [*_older(newest), *([newest] if newest.exists() else [])]


def read(path: str | os.PathLike[str], faults: list[Fault] | None = None) -> Iterator[Event]:
    """The events of a journal, oldest first. Lines that do not hold are left out, and told in `faults` where given."""
    for found in _walk(Path(path), []):
        if isinstance(found, Event):
            yield found
        elif faults is not None:
            faults.append(found)


def check(path: str | os.PathLike[str], log: str | os.PathLike[str] | None = None) -> Report:
    """Read a whole journal, and its head, and say what does not hold. `log`: whether it has the same events."""
    newest = Path(path)
    torn: list[int] = []
    faults: list[Fault] = []
    hashes: dict[int, str] = {}
    last = Head("", 0)
    n_lines = 0
    for found in _walk(newest, torn):
        if isinstance(found, Fault):
            faults.append(found)
            continue
        n_lines += 1
        last = Head(found.hash, found.number + 1)
        hashes[found.number] = found.hash
    exported = _read_head(newest)
    if exported is not None and exported.n_lines:
        known = hashes.get(exported.n_lines - 1)
        if exported.n_lines > last.n_lines:
            missing = exported.n_lines - last.n_lines
            faults.append(
                Fault(newest, n_lines + 1, f"{missing} lines were cut off here: {_head_path(newest)} has more")
            )
        elif known is not None and known != exported.hash:
            faults.append(Fault(newest, n_lines, f"the chain is another than that of {_head_path(newest)}"))
    if log is not None:
        faults += _compare_log(newest, Path(log))
    return Report(tuple(files_of(newest)), n_lines, last, tuple(faults), sum(torn))


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


def _walk(newest: Path, torn: list[int]) -> Iterator[Event | Fault]:
    """Every line of all files, as an event or as what is wrong with it."""
    chain = _core.JournalCheck()
    for file in files_of(newest):
        try:
            with open(file, "rb") as lines:
                for number, line in enumerate(iter(lambda: lines.readline(_MAX_LINE + 1), b""), 1):
                    if not line.endswith(b"\n") and file == newest and len(line) <= _MAX_LINE:
                        torn.append(len(line))  # what a crash in the middle of a write leaves
                        return
                    try:
                        yield Event.from_core(chain.next(line.removesuffix(b"\n")))
                    except Error as error:
                        yield Fault(file, number, error.what)
        except OSError as error:
            raise FileError(str(file), f"cannot be read: {error.strerror or error}") from None


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
    target = _head_path(path)
    aside = target.with_name(target.name + ".new")
    aside.write_text(json.dumps({"version": _HEAD_VERSION, **head._asdict()}) + "\n")
    aside.replace(target)


def _read_head(path: Path) -> Head | None:
    file = _head_path(path)
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FormatError(str(file), f"cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("version") != _HEAD_VERSION:
        raise FormatError(str(file), f"is not of version {_HEAD_VERSION}")
    return Head(str(found["hash"]), int(found["n_lines"]))
