"""A part of a journal: contiguous lines, where they begin and end, and the statements that they record."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import _core
from ..errors import Error, FormatError
from ..journal.chain import ZEROS, Head, files_of, lines_of
from ..journal.events import Event
from ..paths import AnyPath
from .primitives import time_text
from .signer import REASON

CONTENT = "SESSION_RECEIPT"  # events that have prompt and answer


class Recorded(NamedTuple):
    """What the journal says of a signed receipt."""

    issued: str
    statement: str  # its SHA-256


@dataclass
class Segment:
    """Lines with their newlines; `hashes[n]` is the chain's hash after n lines."""

    lines: list[bytes] = field(default_factory=list)
    begin: int = 0
    hashes: dict[int, str] = field(default_factory=dict)
    signed: dict[str, Recorded] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    has_content: bool = False

    @property
    def head(self) -> Head:
        """The chain's head after the last line."""
        end = max(self.hashes, default=0)
        return Head(self.hashes.get(end, ZEROS), end)

    def as_dict(self) -> dict[str, Any] | None:
        """For the manifest."""
        if not self.hashes:
            return None
        return {
            "begin": self.begin,
            "prev_hash": self.hashes[self.begin],
            "end": self.head.n_lines,
            "hash": self.head.hash,
        }


def parse(lines: list[bytes]) -> Segment:
    """The segment of these lines; faults say which of them do not follow each other unchanged."""
    found = Segment(lines)
    chain = _core.JournalCheck()
    for place, line in enumerate(lines, 1):
        try:
            fields = chain.next(line.removesuffix(b"\n"))
        except Error as error:
            found.faults.append(f"line {place} {error.what}")
            continue
        fault = fields.pop("fault")
        if fault is not None or not line.endswith(b"\n"):
            found.faults.append(f"line {place} {fault or 'has no newline at its end'}")
        event = Event.from_core(fields)
        if not found.hashes:
            found.begin = event.number
            found.hashes[event.number] = event.prev_hash
        found.hashes[event.number + 1] = event.hash
        found.has_content |= event.reason_id == CONTENT
        if event.reason_id == REASON:
            id, recorded = _recorded(event.data)
            if id in found.signed:
                found.faults.append(f"line {place} records receipt {id!a} once more")
            found.signed[id] = recorded
    return found


def cut(journal: AnyPath, begin: str, end: str, ids: Collection[str]) -> Segment:
    """The lines of a journal from the first to the last that is of this time, or records a receipt of it or of `ids`.

    Raises FormatError if the journal is damaged there.
    """
    kept: list[bytes] = []
    n_wanted = 0
    for event, line in _events(journal):
        wanted = begin <= time_text(event.time_ns) < end
        if event.reason_id == REASON:
            id, recorded = _recorded(event.data)
            wanted |= id in ids or begin <= recorded.issued < end
        if wanted or kept:
            kept.append(line)
        if wanted:
            n_wanted = len(kept)
    found = parse(kept[:n_wanted])
    if found.faults:
        raise FormatError(
            str(journal), f"is damaged in this time ({found.faults[0]}): flyball journal verify tells all"
        )
    return found


def _events(journal: AnyPath) -> Iterator[tuple[Event, bytes]]:
    files = files_of(journal)
    for file in files:
        for number, line in lines_of(file):
            if not line.endswith(b"\n") and file == files[-1]:
                return  # being written
            try:
                fields = _core.JournalCheck().next(line.removesuffix(b"\n"))
            except Error as error:
                raise FormatError(f"{file}:{number}", f"{error.what}: flyball journal verify tells all") from None
            fields.pop("fault")
            yield Event.from_core(fields), line


def _recorded(data: Mapping[str, Any]) -> tuple[str, Recorded]:
    values = [
        value if isinstance(value := data.get(name), str) else json.dumps(value)
        for name in ("id", "issued", "statement")
    ]
    return values[0], Recorded(values[1], values[2])
