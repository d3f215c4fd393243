"""The journal of the runs, with its log: what is told twice is written once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import _core
from ..errors import FileError
from ..journal.journal import Journal, files_of, read
from .store import Store


def tell(store: Store, events: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Add events, (reason_id, data with `run` and `stage`), as far as the journal has none of this run and stage."""
    with Journal(store.journal_path, log=store.log_path) as journal:
        _complete(store)
        known = {(event.data.get("run"), event.data.get("stage")) for event in read(store.journal_path)}
        for reason_id, data in events:
            if (data["run"], data["stage"]) not in known:
                journal.tell(reason_id, data)


def _complete(store: Store) -> None:
    """Append to the log what a kill left in the journal alone."""
    lines = (line for file in files_of(store.journal_path) for line in file.read_bytes().split(b"\n")[:-1])
    whole = "".join(f"{_core.log_line(line)}\n" for line in lines).encode()
    try:
        there = store.log_path.read_bytes() if store.log_path.exists() else b""
        if whole != there and whole.startswith(there):
            with open(store.log_path, "ab") as log:
                log.write(whole[len(there) :])
    except OSError as error:
        raise FileError(str(store.log_path), f"cannot be written: {error.strerror or error}") from None
