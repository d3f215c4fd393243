"""A log beside its journal: each event as a line of text, in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from .. import _core
from ..errors import Error, FileError
from .chain import MAX_LINE, Fault, files_of, lines_of

_UNREADABLE = b""  # a damaged line of the journal, which is a fault of its own


def compare(newest: Path, log: Path) -> Iterator[Fault]:
    """The first line where journal and log differ.

    A log goes on when rotation deletes the journal's oldest file, and when a journal is set aside: what it has before
    the journal's first event is not compared then.
    """
    try:
        with log.open("rb") as lines:
            yield from _compare(newest, log, lines)
    except OSError as error:
        raise FileError(str(log), f"cannot be read: {error.strerror or error}") from None


def _compare(newest: Path, log: Path, lines: BufferedReader) -> Iterator[Fault]:
    number, begun = 0, False
    for event in _logged(newest):
        skip = not begun and event and (b" seq=0 " not in event or b" reason_id=JOURNAL_SET_ASIDE " in event)
        begun = True
        while True:
            line = lines.readline(2 * MAX_LINE)
            number += 1
            if not skip or line in (event, b""):
                break
        if not line:
            yield Fault(log, number, "the log ends here, the journal continues")
            return
        if line != event and event != _UNREADABLE:
            yield Fault(log, number, "differs from the journal's event")
            return
    if lines.readline(1):
        yield Fault(log, number + 1, "not in the journal")


def _logged(newest: Path) -> Iterator[bytes]:
    """What the log should have, a line for each of the journal's."""
    files = files_of(newest)
    for file in files:
        for _, line in lines_of(file):
            try:
                yield (_core.log_line(line.removesuffix(b"\n")) + "\n").encode()
            except Error:
                if line.endswith(b"\n") or file != files[-1]:  # else it is torn
                    yield _UNREADABLE
