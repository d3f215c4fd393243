"""Whether everything that the runs left is still there and unchanged.

runs/ID/SHA256SUMS lists the files of a run, as sha256sum writes and checks it; the run's record has its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from .. import files, journal
from ..errors import Error, FileError
from .history import Damage, History
from .results import Record
from .store import ABANDONED, Store

SUMS = "SHA256SUMS"


def seal(folder: Path) -> str:
    """Write the sums of all files of a run; returns the SHA-256 of that file."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    text = "".join(f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in found)
    files.write(folder / SUMS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def check(store: Store, history: History) -> tuple[list[Damage], list[str]]:
    """Damage that nobody has accepted, and notes about what is no damage."""
    found = [*history.damage, *_limits(store, history), *_journal(store, history)]
    notes = [f"{path.name} was set aside" for path in sorted(store.root.glob("history.jsonl.torn-*"))]
    n_gone = 0
    for record in history.records:
        if not record.files:
            continue
        if not store.run_folder(record.run).exists():
            n_gone += 1
        else:
            found += _run(store, record)
    if n_gone:
        notes.append(f"the folders of {n_gone} runs are not here")
    known = accepted(history)
    if told := [damage for damage in found if str(damage) in known]:
        notes.append(f"{len(told)} places are damaged and accepted")
    return [damage for damage in found if str(damage) not in known], notes


def accepted(history: History) -> set[str]:
    """Damage that a user has accepted."""
    return {str(damage) for record in history.records for damage in record.by.get("damage", [])}


def _run(store: Store, record: Record) -> Iterator[Damage]:
    folder = store.run_folder(record.run)
    place = folder.relative_to(store.root)
    try:
        raw = (folder / SUMS).read_bytes()
    except OSError as error:
        yield Damage(f"{place}/{SUMS}", f"cannot be read: {error.strerror or error}")
        return
    if hashlib.sha256(raw).hexdigest() != record.files:
        yield Damage(f"{place}/{SUMS}", "was altered")
        return
    for line in raw.decode().splitlines():
        expected, _, name = line.partition("  ")
        try:
            if _sha256(folder / name) != expected:
                yield Damage(f"{place}/{name}", "was altered")
        except FileNotFoundError:
            yield Damage(f"{place}/{name}", "is missing")
        except OSError as error:
            yield Damage(f"{place}/{name}", f"cannot be read: {error.strerror or error}")


def _limits(store: Store, history: History) -> Iterator[Damage]:
    """The policy's limits must be those of the last record, or stricter while a latch waits to be recorded."""
    written = [record.bounds for record in history.records if record.bounds is not None]
    if written and not store.latch_path.exists():
        try:
            text = store.limits_path.read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        except OSError as error:
            yield Damage(store.limits_path.name, f"cannot be read: {error.strerror or error}")
            return
        if text != written[-1] and text not in _of_killed(store, history):
            yield Damage(store.limits_path.name, "was altered" if text else "is missing")


def _of_killed(store: Store, history: History) -> Iterator[str]:
    """The limits of runs that were killed between them and their record."""
    recorded = {record.run for record in history.records}
    for file in (store.root / "runs").glob(f"*/{store.limits_path.name}"):
        if file.parent.name not in recorded and not (file.parent / ABANDONED).exists():
            yield file.read_text(errors="replace")


def _journal(store: Store, history: History) -> Iterator[Damage]:
    """The journal and its log, once a run has been recorded."""
    if not any(record.prev_hash or record.bounds is not None for record in history.records):
        return
    path, log = store.journal_path, store.log_path
    try:
        report = journal.check(path)
        if not report.files:
            yield Damage(path.name, "is missing")
            return
        yield from (Damage(f"{fault.file.name}:{fault.line}", fault.what) for fault in report.faults)
        yield from (Damage(path.name, doubt) for doubt in report.doubts)
        if report.torn:
            yield Damage(path.name, f"its last line is incomplete: {report.torn} bytes")
        head = path.with_name(f"{path.name}.head")
        for file in (head, log):
            raw = file.read_bytes() if file.exists() else b""
            if raw and not raw.endswith(b"\n"):
                yield Damage(file.name, "its last line is incomplete")
        if not log.exists():
            yield Damage(log.name, "is missing")
            return
        known = {(fault.file, fault.line) for fault in report.faults}
        for fault in journal.check(path, log).faults:
            if (fault.file, fault.line) not in known and not _is_behind(store, history):
                yield Damage(f"{fault.file.name}:{fault.line}", fault.what)
    except FileError as error:
        yield Damage(Path(error.where).name, error.what)
    except (OSError, Error) as error:
        yield Damage(log.name, f"cannot be compared with the journal: {error}")


def _is_behind(store: Store, history: History) -> bool:
    """Whether the log lacks nothing but the events of a run or act that was killed before its record."""
    recorded = {record.run for record in history.records}
    lines = store.log_path.read_text(errors="replace").split("\n")[:-1]
    events = list(journal.read(store.journal_path))
    rest = events[len(lines) :]
    same = all(f" seq={event.number} " in line for line, event in zip(lines, events, strict=False))
    return bool(rest) and same and all(event.data.get("run") not in recorded for event in rest)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
