"""A journal's files as one chain: reading, following and checking them, and the head that attests both ends.

FILE has the newest lines; FILE.1, FILE.2 ... the earlier ones, oldest first. FILE.head says how long the chain is, its
last hash, and with which line the retained part begins: rotation deletes the oldest files, and nobody else may.

Head versions: 1 has `hash` and `n_lines`; 2 adds `first` and `first_prev_hash`. Both are read, 2 is written.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from .. import _core, files
from ..errors import Error, FileError
from ..paths import AnyPath, expanded
from .events import Event

MAX_LINE = 64 << 10
HEAD_VERSION = 2
ZEROS = "0" * 64
_MOST_FAULTS = 1000
UNENDED = "has no newline at its end"


class Head(NamedTuple):
    """The head of a chain: the last line's hash, and the number of lines since its beginning."""

    hash: str
    n_lines: int


class Begin(NamedTuple):
    """The first retained line: its number, and the hash of the line before it."""

    number: int = 0
    prev_hash: str = ZEROS


class Exported(NamedTuple):
    """FILE.head; `begin` is None in version 1."""

    head: Head
    begin: Begin | None


class Fault(NamedTuple):
    """A fault and its place."""

    file: Path
    line: int  # in that file, from 1
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Report:
    """The result of checking a journal. `torn`: bytes of an incomplete last line, as after a crash.

    `doubts`: what could not be checked, such as the end of a journal without FILE.head.
    `newer`: lines behind those that FILE.head attests, as after a crash.
    """

    files: tuple[Path, ...]
    n_lines: int
    head: Head
    faults: tuple[Fault, ...]
    torn: int = 0
    doubts: tuple[str, ...] = ()
    newer: int = 0
    unended: bool = False  # the last line is whole, but for its newline

    @property
    def verified(self) -> bool:
        """Whether every line is intact, and none is missing between the ends that the head attests."""
        return not self.faults and not self.doubts


@dataclass
class _Tail:
    """The newest file's end: its whole lines, bytes of a torn one, or a whole one without its newline."""

    n_lines: int = 0
    torn: int = 0
    unended: Fault | None = None


def files_of(path: AnyPath) -> list[Path]:
    """The journal's files, oldest first."""
    newest = Path(expanded(path))
    return [*older(newest), *([newest] if newest.exists() else [])]


def read(path: AnyPath, faults: list[Fault] | None = None) -> Iterator[Event]:
    """The events of a journal, oldest first. Damaged lines are skipped.

    `faults` gets them and every other fault, such as a gap; intact lines around it are yielded.
    """
    for found in _walk(files_of(path), _Tail()):
        if isinstance(found, Event):
            yield found
        elif faults is not None:
            faults.append(found)


def follow(path: AnyPath) -> Iterator[Event | Fault | None]:
    """The lines of a journal, including those appended later; None: no new line yet. Never ends."""
    newest = Path(expanded(path))
    chain = _Chain()
    for file in older(newest):
        for number, line in lines_of(file):
            yield from chain.next(file, number, line)
    while True:
        try:
            lines = _open(newest)
        except FileNotFoundError:  # not yet created after a rotation
            yield None
            continue
        with lines:
            number, renamed = 0, False
            while True:
                begin = lines.tell()
                line = lines.readline(MAX_LINE + 1)
                if line.endswith(b"\n") or len(line) > MAX_LINE:
                    number += 1
                    yield from chain.next(newest, number, line)
                    continue
                lines.seek(begin)  # end of file, or a line that is still being written
                if renamed:
                    break
                renamed = not is_file(newest, lines.fileno())  # rotated: read what was appended before, then reopen
                if not renamed:
                    yield None


def check(path: AnyPath, log: AnyPath | None = None, head: Head | None = None) -> Report:
    """Read a whole journal and its head, and report all faults.

    `log`: also compare its events. `head`: a copy kept elsewhere, which the journal must contain.
    """
    from .log import compare

    newest = Path(expanded(path))
    report = check_files(newest, files_of(newest), head=head)
    if log is None:
        return report
    return replace(report, faults=(*report.faults, *compare(newest, Path(expanded(log, "log")))))


def check_files(newest: Path, files: list[Path], whole: bool = True, head: Head | None = None) -> Report:
    """As check(), for these files only, of which the last is the newest; `whole`: they are all of the journal."""
    tail = _Tail()
    faults: list[Fault] = []
    hashes: dict[int, str] = {}  # of each line, and of the one before the first
    begin: Begin | None = None
    n_lines = end = before = 0  # `before`: unreadable lines before the first readable one
    for found in _walk(files, tail):
        if isinstance(found, Fault):
            faults.append(found)
            before += begin is None
            if len(faults) == _MOST_FAULTS:
                faults.append(found._replace(what="more faults than are worth reading: the rest was not read"))
                break
            continue
        if begin is None:
            begin = Begin(found.number, found.prev_hash)
            hashes[begin.number - 1] = begin.prev_hash
        hashes[found.number] = found.hash
        n_lines += 1
        end = max(end, found.number + 1)
    doubts: list[str] = []
    exported, wrong = _exported(newest)
    faults += wrong
    name = head_path(newest).name
    if exported is not None:
        faults += _wrong_end(newest, tail, exported.head, end, hashes, name)
        if tail.unended is not None and exported.head.n_lines >= end:
            faults.append(tail.unended)  # it was flushed whole: no crash did this
    elif not wrong and head is None and whole:
        doubts.append(f"{head_path(newest)} is missing: lines that were cut off at the end would not be seen")
    if head is not None:
        faults += _wrong_end(newest, tail, head, end, hashes, "the given head")
        if head.n_lines - 1 not in hashes and begin is not None and head.n_lines < begin.number:
            doubts.append(f"{files[0]} begins behind line {head.n_lines} of the given head, which proves nothing here")
    if whole and begin is not None:
        attested = exported.begin if exported is not None else None
        if attested is None and begin.number <= before:
            attested = Begin()
        if attested is None:
            doubts.append(
                f"{files[0]} begins at line {begin.number}, and no head says that rotation removed the others"
            )
        elif begin.number - before > attested.number:
            n = begin.number - before - attested.number
            faults.insert(0, Fault(files[0], 1, f"follows a gap: {n} missing since the beginning that {name} has"))
        elif hashes.get(attested.number - 1, attested.prev_hash) != attested.prev_hash:
            faults.insert(0, Fault(files[0], 1, f"is not the beginning of the chain that {name} has"))
    newer = end - exported.head.n_lines if exported is not None else 0
    last = Head(hashes.get(end - 1, ZEROS), end)
    return Report(
        tuple(files), n_lines, last, tuple(faults), tail.torn, tuple(doubts), max(0, newer), tail.unended is not None
    )


def _exported(newest: Path) -> tuple[Exported | None, list[Fault]]:
    try:
        return read_head(newest), []
    except ValueError as error:
        return None, [Fault(head_path(newest), 1, str(error))]


def _wrong_end(
    newest: Path, tail: _Tail, head: Head, end: int, hashes: Mapping[int, str], source: str
) -> Iterator[Fault]:
    if head.n_lines > end:
        yield Fault(newest, tail.n_lines + 1, f"{head.n_lines - end} lines are missing here, according to {source}")
    elif head.n_lines and hashes.get(head.n_lines - 1, head.hash) != head.hash:
        yield Fault(newest, tail.n_lines, f"the chain differs from that of {source}")


def begin_of(files: Iterable[Path]) -> Begin:
    """Where these files of a journal begin; the beginning of a chain if they have no readable line."""
    for found in _walk(list(files), _Tail()):
        if isinstance(found, Event):
            return Begin(found.number, found.prev_hash)
    return Begin()


class _Chain:
    """Lines in the order of the chain, each as an event, a fault, or both."""

    def __init__(self) -> None:
        self._core = _core.JournalCheck()
        self._seen: set[int] = set()  # hashes of lines, of which a copy is no second event

    def next(self, file: Path, number: int, line: bytes) -> Iterator[Event | Fault]:
        """An intact line is an event wherever it is; a fault before it says what is wrong with its place."""
        try:
            fields = self._core.next(line.removesuffix(b"\n"))
        except Error as error:
            yield Fault(file, number, error.what)
            return
        fault = fields.pop("fault")
        if fault is not None:
            yield Fault(file, number, fault)
        key = int(fields["hash"][:16], 16)
        if key not in self._seen:
            self._seen.add(key)
            yield Event.from_core(fields)


def _walk(files: list[Path], tail: _Tail) -> Iterator[Event | Fault]:
    """Every line of the files, as an event, a fault, or both."""
    chain = _Chain()
    for file in files:
        for number, line in lines_of(file):
            whole = line.endswith(b"\n")
            found = list(chain.next(file, number, line))
            if whole or len(line) > MAX_LINE:
                tail.n_lines = number
            elif file != files[-1]:
                found.insert(0, Fault(file, number, UNENDED))
            elif isinstance(found[-1], Event):
                tail.unended = Fault(file, number, UNENDED)
            else:
                tail.torn = len(line)  # incomplete, from a crash while writing
                return
            yield from found


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """The numbered lines of a file; of one that is too long only the beginning, which is too long as well."""
    try:
        with _open(file) as lines:
            for number in itertools.count(1):
                line = lines.readline(MAX_LINE + 1)
                if not line:
                    return
                rest = line
                while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                    rest = lines.readline(MAX_LINE + 1)
                yield number, line
    except FileError:
        raise
    except OSError as error:
        raise FileError(str(file), f"cannot be read: {error.strerror or error}") from None


def _open(file: Path) -> BufferedReader:
    """A device or a pipe might never end, or never begin."""
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode):
        raise FileError(str(file), f"is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}, not a journal")
    return file.open("rb")


def is_file(path: Path, descriptor: int) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def older(newest: Path) -> list[Path]:
    """FILE.1, FILE.2, ... in this order, as far as they exist."""
    if not newest.parent.is_dir():
        return []
    prefix = newest.name + "."
    found = (file for file in newest.parent.iterdir() if file.name.startswith(prefix))
    return sorted((file for file in found if file.name.removeprefix(prefix).isdecimal()), key=number_of)


def number_of(file: Path) -> int:
    """n of FILE.n."""
    return int(file.name.rpartition(".")[2])


def head_path(path: Path) -> Path:
    """FILE.head."""
    return path.with_name(path.name + ".head")


def write_head(path: Path, head: Head, begin: Begin) -> None:
    """Write FILE.head."""
    fields = {**head._asdict(), "first": begin.number, "first_prev_hash": begin.prev_hash}
    files.write(head_path(path), json.dumps({"version": HEAD_VERSION, **fields}) + "\n")


def read_head(path: Path) -> Exported | None:
    """FILE.head, or None without that file; raises ValueError if it is invalid."""
    file = head_path(path)
    try:
        with _open(file) as opened:
            found = json.loads(opened.read(MAX_LINE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', '') or error}") from None
    if not isinstance(found, dict) or found.get("version") not in (1, HEAD_VERSION):
        raise ValueError(f"is not of version 1 or {HEAD_VERSION}")
    head = _head(found.get("hash"), found.get("n_lines"))
    if found["version"] == 1:
        return Exported(head, None)
    begin = _head(found.get("first_prev_hash"), found.get("first"))
    return Exported(head, Begin(begin.n_lines, begin.hash))


def _head(hash: object, n_lines: object) -> Head:
    if (
        not isinstance(hash, str)
        or re.fullmatch("[0-9a-f]{64}", hash) is None
        or type(n_lines) is not int
        or n_lines < 0
    ):
        raise ValueError("has no valid hash or number of lines")
    return Head(str(hash), n_lines)
