"""The folder of the runs: artifacts/reliability/.

lock              locked by the running run
history.jsonl     a line for each completed run and each manual action; append-only
journal.jsonl     the stages' verdicts and the manual actions as a journal, with journal.log
runs/ID/          plan.json, stages/ with a file for each completed stage, and the stages' files

The history is authoritative: it has the state after each run. An incomplete last line after a crash is dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import files
from ..errors import Error, FileError, FormatError, InvalidArgument
from ..paths import AnyPath, expanded
from .results import Record, StageResult


class Store:
    """The folder and its files."""

    def __init__(self, root: AnyPath) -> None:
        self.root = Path(expanded(root, "root"))
        self.history_path = self.root / "history.jsonl"
        self.journal_path = self.root / "journal.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; a second run is refused, as both would append to the same history."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = open(self.root / "lock", "w")  # noqa: SIM115
        except OSError as error:
            raise FileError(str(self.root), f"cannot be written: {error.strerror or error}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InvalidArgument(
                    str(self.root), "is in use by another run; wait for it, or give --artifacts another folder"
                ) from None
            yield

    def history(self) -> list[Record]:
        """All records, oldest first."""
        try:
            lines = self.history_path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FileError(str(self.history_path), f"cannot be read: {error.strerror or error}") from None
        records = []
        for number, line in enumerate(lines[:-1], 1):  # an incomplete last line is dropped
            try:
                records.append(Record.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, Error) as error:
                raise FormatError(
                    f"{self.history_path}:{number}", f"is not a valid record: {error}; move the file away"
                ) from None
        return records

    def append(self, record: Record) -> None:
        """Append a record and flush it to the disk; a record that is already there is not repeated."""
        if any(known.run == record.run for known in self.history()):
            return
        line = json.dumps(record.as_dict()).encode() + b"\n"
        with open(self.history_path, "ab") as file:
            whole = _whole_lines(self.history_path)
            if whole != file.tell():
                file.truncate(whole)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def run_folder(self, run: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / run

    def begin(self, plan: Mapping[str, Any]) -> str:
        """Create a run; returns its name."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        runs = self.root / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        for n in range(1000):
            run = f"{stamp}-{n:03}"
            if not (runs / run).exists():
                (runs / run).mkdir()
                write_json(runs / run / "plan.json", plan)
                return run
        raise FileError(str(runs), "already has a thousand runs of this second")

    def interrupted(self, plan: Mapping[str, Any]) -> tuple[str | None, list[str]]:
        """The newest interrupted run with this plan, and all other interrupted runs."""
        runs = self.root / "runs"
        if not runs.is_dir():
            return None, []
        ended = {record.run for record in self.history()}
        open_runs = sorted(folder.name for folder in runs.iterdir() if folder.is_dir() and folder.name not in ended)
        plans = {run: read_json(runs / run / "plan.json") for run in open_runs}
        same = [run for run in open_runs if plans[run] == plan]
        given_up = [run for run in open_runs if run not in same[-1:] and not (plans[run] or {}).get("given_up")]
        return (same[-1] if same else None), given_up

    def give_up(self, run: str) -> None:
        """Mark a run as abandoned."""
        path = self.run_folder(run) / "plan.json"
        write_json(path, (read_json(path) or {}) | {"given_up": True})

    def result(self, run: str, stage: str) -> StageResult | None:
        """The result of a stage; None if it has not ended or its file is invalid."""
        found = read_json(self._result_path(run, stage))
        try:
            return None if found is None else StageResult.from_dict(found)
        except (KeyError, TypeError, ValueError, Error):
            return None

    def keep(self, run: str, result: StageResult) -> None:
        """Write a stage's result."""
        write_json(self._result_path(run, result.stage), result.as_dict())

    def _result_path(self, run: str, stage: str) -> Path:
        return self.run_folder(run) / "stages" / f"{stage}.json"


def _whole_lines(path: Path) -> int:
    data = path.read_bytes()
    return data.rfind(b"\n") + 1


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    files.write(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
