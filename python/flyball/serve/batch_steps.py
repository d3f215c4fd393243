"""What moves a batch from one state to the next: its lines are checked, its results are written.

Each step can be cut short anywhere and begun again: a batch's state changes last, and names the files it has then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import chain

from ..errors import FormatError, InvalidArgument, NotFound
from ..store import Batch, Project
from ..store.uploads import MOST_PROJECT_BYTES
from .batch_lines import LineError, items_of, result_line
from .records import KEPT_MS

OPEN = ("validating", "in_progress", "finalizing", "cancelling")
PURPOSE = "batch_output"


def waits(batch: Batch) -> bool:
    """Whether the batch waits for nothing but its answers."""
    return batch.state == "in_progress" and batch.counts.open > 0 and batch.expires > _now()


def step(project: Project, batch: Batch) -> Batch:
    """The batch after its next step, or as it is where it has to wait for its items."""
    if batch.state == "cancelling":
        project.batches.close_items(batch.id, "cancelled", lapsed=True)
        batch = _again(project, batch)
        return batch if batch.counts.open else _end(project, batch, "cancelled")
    if batch.state == "finalizing":
        return _end(project, batch, "completed")
    if batch.expires <= _now():
        project.batches.close_items(batch.id, "expired")
        return _end(project, batch, "expired")
    if batch.state == "validating":
        return _validate(project, batch)
    return batch if batch.counts.open else project.batches.advance(batch.id, "finalizing")


def _again(project: Project, batch: Batch) -> Batch:
    now = project.batches.get(batch.id)
    if now is None:
        raise NotFound(batch.id, "was deleted while it was run")
    return now


def _validate(project: Project, batch: Batch) -> Batch:
    errors: list[LineError] = []
    try:
        content = project.files.content(batch.input_file_id)
        project.batches.set_items(batch.id, items_of(content, batch.endpoint, errors))
    except (NotFound, FormatError, InvalidArgument) as error:
        now = _again(project, batch)
        if now.state != "validating":  # canceled meanwhile
            return now
        errors.append(LineError("invalid_file", str(error), param="input_file_id"))
    if not errors:
        return project.batches.advance(batch.id, "in_progress")
    project.batches.set_items(batch.id, ())
    return project.batches.advance(batch.id, "failed", errors=_as_json(errors))


def _end(project: Project, batch: Batch, state: str) -> Batch:
    """Write the files of results, and end the batch with them."""
    output = failed = None
    errors = None
    try:
        output = _write(project, batch, "output", ("completed",))
        failed = _write(project, batch, "error", ("failed", "expired", "cancelled"))
    except InvalidArgument as error:  # no room in the project; the answers' receipts remain
        errors = _as_json([LineError("no_room", f"the results could not be stored: {error}")])
        state = "failed" if state == "completed" else state
    ended = project.batches.advance(batch.id, state, output_file_id=output, error_file_id=failed, errors=errors)
    for own, told in ((output, ended.output_file_id), (failed, ended.error_file_id)):
        if own is not None and own != told:  # another server was faster
            project.files.delete(own)
    return ended


def _write(project: Project, batch: Batch, kind: str, states: Sequence[str]) -> str | None:
    """The id of a file with the lines of the items in these states; None: there are none."""
    name = f"{batch.id}_{kind}.jsonl"
    for file in list(project.files.all(PURPOSE)):
        if file.name == name:  # of a server that died before it could tell of it
            project.files.delete(file.id)
    items = project.items.of(batch.id, states)
    if (first := next(items, None)) is None:
        return None
    lines = map(result_line, chain((first,), items))
    return project.files.put(name, PURPOSE, lines, _now() + KEPT_MS, MOST_PROJECT_BYTES).id


def _now() -> int:
    return time.time_ns() // 1_000_000


def _as_json(errors: Sequence[LineError]) -> str:
    return json.dumps({"object": "list", "data": [error._asdict() for error in errors]})
