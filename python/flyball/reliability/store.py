"""Where runs are kept: artifacts/reliability/.

lock              held by the run that is under way
history.jsonl     a line for each run that came to its end, and for each act of a person; only appended to
journal.jsonl     what each stage said and what was done, in the core's journal, with journal.log
baselines/        what costs are held against, chosen by a person
runs/ID/          plan.json, stages/ with a file for each that ended, and what the stages left

The history is the truth: the state after a run is in its line. A line that a crash has torn is dropped.
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
from .results import Record, StageResult


class Store:
    """The folder, and what is in it."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.history_path = self.root / "history.jsonl"
        self.journal_path = self.root / "journal.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While a run writes here: another one is refused, since both would continue the same history."""
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
        for number, line in enumerate(lines[:-1], 1):  # behind the last newline: nothing, or what a crash has torn
            try:
                records.append(Record.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, Error) as error:
                raise FormatError(f"{self.history_path}:{number}", f"is no record: {error}; move it away") from None
        return records

    def append(self, record: Record) -> None:
        """Add a record, on the disk before this returns; once, whoever asks again."""
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
        """Of a run."""
        return self.root / "runs" / run

    def begin(self, plan: Mapping[str, Any]) -> str:
        """A new run; gives its name."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        runs = self.root / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        for n in range(1000):
            run = f"{stamp}-{n:03}"
            if not (runs / run).exists():
                (runs / run).mkdir()
                write_json(runs / run / "plan.json", plan)
                return run
        raise FileError(str(runs), "has a thousand runs of this second")

    def interrupted(self, plan: Mapping[str, Any]) -> tuple[str | None, list[str]]:
        """The newest run with this plan that did not come to its end, and others that did not."""
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
        """Say that a run will not go on."""
        path = self.run_folder(run) / "plan.json"
        write_json(path, (read_json(path) or {}) | {"given_up": True})

    def result(self, run: str, stage: str) -> StageResult | None:
        """Of a stage that ended; None where it did not, or its file is no result."""
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
    """The whole file or none of it."""
    files.write(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no file, or it is no JSON object."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
