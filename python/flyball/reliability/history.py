"""history.jsonl: a line for each completed run and each act, chained; what is damaged is skipped, told and kept.

A line has `prev_hash`, the SHA-256 of the line before it, and ends with `hash`, the SHA-256 of its own text before
that member. history.jsonl.head has the number of lines and the SHA-256 of the last one, so that a missing end is found.
Order is position. Lines of version 0.1 have no hashes; the first line with one vouches for the line before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import files
from ..errors import Error, FileError
from .results import Limits, Record

_SEALED = re.compile(rb'(.*), "hash": "([0-9a-f]{64})"\}', re.DOTALL)
_MARKS = (b"<<<<<<<", b"|||||||", b"=======", b">>>>>>>")  # of a conflict between two versions of the file
_MOST_DAMAGE = 100  # places in a record
MODES = ("active", "canary", "quarantined")  # from the mildest


class Damage(NamedTuple):
    """What is wrong with a line or a file."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class History:
    """`records`: all that can be read, oldest first. `state`: of the quarantine, the strictest that follows."""

    records: list[Record]
    damage: list[Damage]
    state: dict[str, Any]
    n_lines: int  # without an incomplete last one


def read(path: Path) -> History:
    """Read whatever can be read; raises FileError if the file itself cannot."""
    return _Reader(path).history()


def append(path: Path, record: Record) -> None:
    """Append a record and flush it to the disk; one that is already there is not repeated. Removes no line."""
    reader = _Reader(path)
    known = reader.history()
    if any(other.run == record.run for other in known.records):
        return
    if not reader.lines:
        _write_head(path, 0, "")  # from now on a missing head is a loss
    if reader.torn:
        _set_aside(path, reader)
    damage = dict.fromkeys([*record.damage, *(str(each) for each in known.damage)])
    record = replace(record, damage=[*damage][-_MOST_DAMAGE:])
    previous = _sha256(reader.lines[-1]) if reader.lines else ""
    text = json.dumps({**record.as_dict(), "prev_hash": previous})[:-1].encode()
    line = text + f', "hash": "{_sha256(text)}"}}'.encode()
    _write(path, (b"" if reader.whole else b"\n") + line + b"\n")
    _write_head(path, len(reader.lines) + 1, _sha256(line))


def strictness(heal: Mapping[str, Any]) -> int:
    """An order of states; a mode of another version counts as quarantine."""
    mode = heal.get("mode", MODES[0])
    return len(MODES) if heal.get("latched") else MODES.index(mode if mode in MODES else MODES[-1])


class _Reader:
    """The lines of the file, and what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raw = b""
        except OSError as error:
            raise FileError(str(path), f"cannot be read: {error.strerror or error}") from None
        self.lines = raw.split(b"\n")
        self.torn = self.lines.pop()  # what follows the last newline
        self.whole = not self.torn
        self.records: list[Record] = []
        self.damage: list[Damage] = []
        self.fork: int | None = None  # records from here on are of two files that were merged
        self.lost = False  # a record after the last one that can be read
        if self.torn and isinstance(_parsed(self.torn), Record):
            self._wrong(len(self.lines) + 1, "has no newline; the record counts")
            self.lines.append(self.torn)
            self.torn = b""

    def history(self) -> History:
        """Check every line, then the head."""
        head = self._head()
        hashes = [_sha256(line) for line in self.lines]
        known: dict[str, int] = {"": 0}  # hash of a line: number of records up to it
        trusted, sealed_before = True, False
        for number, line in enumerate(self.lines, 1):
            before = hashes[number - 2] if number > 1 else ""
            sealed = _SEALED.fullmatch(line)
            what, record = _judged(line, sealed)
            if not sealed and record and head and head[0] == number == len(hashes) and head[1] != hashes[-1]:
                what, record = "was altered: the head has another hash of it", None
            if record is None:
                self._wrong(number, what)
                self.lost = self.lost or not _is_no_record(line)
                if line.startswith(_MARKS[0]):
                    self._forked(len(self.records))
            else:
                if sealed and record.prev_hash != before:
                    if trusted:
                        self._wrong(number, "does not follow the line before it: lines are missing, new or moved")
                    if known.get(record.prev_hash, len(self.records)) < len(self.records):
                        self._forked(known[record.prev_hash])  # others follow the same line
                elif not sealed and sealed_before:
                    self._wrong(number, "has no hash: it was altered, or an older version wrote it")
                self.records.append(record)
                self.lost = False
                if record.heal.get("mode", MODES[0]) not in MODES:
                    self._wrong(number, f"has the unknown mode {record.heal['mode']!r}, which counts as quarantine")
            trusted = record is not None
            sealed_before = sealed_before or sealed is not None
            known.setdefault(hashes[number - 1], len(self.records))
        if self.torn:
            self._wrong(len(self.lines) + 1, f"is incomplete: {len(self.torn)} bytes; the next record sets it aside")
            self.lost = True
        self._compare(head, hashes, sealed_before)
        return History(self.records, self.damage, self._state(), len(self.lines))

    def _wrong(self, number: int, what: str) -> None:
        self.damage.append(Damage(f"{self.path.name}:{number}", what))

    def _forked(self, n_records: int) -> None:
        """From there on records are of two files, unless the last record was written with that in view."""
        self.fork = n_records if self.fork is None else min(self.fork, n_records)

    def _head(self) -> tuple[int, str] | None:
        path = head_path(self.path)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.damage.append(Damage(path.name, f"cannot be read: {error.strerror or error}"))
            return None
        try:
            found = json.loads(raw)
            n_lines, last = found["n_lines"], found["hash"]
        except (ValueError, KeyError, TypeError, RecursionError):
            n_lines, last = None, None
        if (
            not isinstance(n_lines, int)
            or n_lines < 0
            or not isinstance(last, str)
            or _head_text(n_lines, last).encode() != raw
        ):
            self.damage.append(Damage(path.name, "was altered"))
            return None
        return n_lines, last

    def _compare(self, head: tuple[int, str] | None, hashes: Sequence[str], sealed: bool) -> None:
        path = head_path(self.path)
        if head is None:
            if sealed and not any(damage.where == path.name for damage in self.damage):
                self.damage.append(Damage(path.name, "is missing"))
            return
        n_lines, last = head
        n_found = len(hashes) + bool(self.torn)
        if n_lines > n_found:
            self._wrong(n_found + 1, f"{n_lines - n_found} lines are missing, according to {path.name}")
            self.lost = self.lost or not hashes or hashes[-1] != last
        elif not self.damage and (hashes[n_lines - 1] if n_lines else "") != last:
            self.damage.append(Damage(path.name, "is not that of the history"))
        elif not self.damage and n_found > n_lines + 1 and _SEALED.fullmatch(self.lines[n_lines]):  # a kill leaves one
            self.damage.append(Damage(path.name, "is older than the history"))

    def _state(self) -> dict[str, Any]:
        """Of the last record; stricter where records were lost behind it, or are of two files."""
        last = self.records[-1] if self.records else Record("", 0.0)
        newest = self.records[-1:]
        if self.fork is not None and not {str(damage) for damage in self.damage} <= set(last.damage):
            newest = self.records[self.fork :] or newest
        state = max((record.heal for record in reversed(newest)), key=strictness, default={})
        unknown = state.get("mode", MODES[0]) not in MODES
        if unknown or (self.lost and strictness(state) < MODES.index("quarantined")):
            streak = int(Limits().stable_streak)
            state = {**state, "mode": "quarantined", "stable": 0, "needed": streak, "counted_from": last.run}
        return {key: value for key, value in state.items() if key != "baseline"}  # of costs, which an act has set


def _judged(line: bytes, sealed: re.Match[bytes] | None) -> tuple[str, Record | None]:
    """What is wrong with a line, and its record if nothing is."""
    if not line.strip():
        return "is blank", None
    if line.startswith(_MARKS):
        return "is the mark of a conflict: two files were merged", None
    if sealed and _sha256(sealed[1]) != sealed[2].decode():
        return "was altered: its hash is another", None
    found = _parsed(line)
    return ("", found) if isinstance(found, Record) else (f"is not a record: {found}", None)


def _parsed(line: bytes) -> Record | str:
    """The record of a line, or why it is none."""
    try:
        return Record.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Error) as error:
        return f"{type(error).__name__} {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]


def _is_no_record(line: bytes) -> bool:
    return not line.strip() or line.startswith(_MARKS)


def _set_aside(path: Path, reader: _Reader) -> None:
    """Move an incomplete last line into a file of its own, which is there before the line is cut."""
    n = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.torn-{n}").exists())
    files.write(path.with_name(f"{path.name}.torn-{n}"), reader.torn)
    try:
        with open(path, "r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - len(reader.torn))
            os.fsync(file.fileno())
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {error.strerror or error}") from None
    reader.whole = True


def _write(path: Path, data: bytes) -> None:
    """Append all of it, or nothing."""
    try:
        with open(path, "ab", buffering=0) as file:
            begin = file.tell()
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(begin)
                raise
    except OSError as error:
        raise FileError(str(path), f"cannot be written: {error.strerror or error}; the run is not recorded") from None


def head_path(path: Path) -> Path:
    """The file with the end of the chain."""
    return path.with_name(f"{path.name}.head")


def _head_text(n_lines: int, last: str) -> str:
    return json.dumps({"version": 1, "hash": last, "n_lines": n_lines}) + "\n"


def _write_head(path: Path, n_lines: int, last: str) -> None:
    files.write(head_path(path), _head_text(n_lines, last))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
