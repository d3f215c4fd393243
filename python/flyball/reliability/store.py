"""The folder of the runs: artifacts/reliability/.

lock                   held by the running run
history.jsonl, .head   a line for each completed run and each act; append-only (history.py)
journal.jsonl          the stages' verdicts and the acts as a journal, with journal.log
policy.toml.limits     the bounds of the policy, if it has any
latch.json             a latch that is in force and not yet in the history (latch.py)
runs/ID/               plan.json, stages/ with a file for each completed stage, the stages' files, SHA256SUMS
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .. import files
from ..errors import Error, FileError
from ..paths import AnyPath, expanded
from . import lock
from .history import History, append, read
from .results import Record, StageResult

ABANDONED = "abandoned"  # the file that marks such a run; version 0.1 has `given_up` in plan.json instead


class Store:
    """The folder and its files."""

    def __init__(self, root: AnyPath) -> None:
        self.root = Path(expanded(root, "root"))
        self.history_path = self.root / "history.jsonl"
        self.journal_path = self.root / "journal.jsonl"
        self.log_path = self.root / "journal.log"
        self.limits_path = self.root / "policy.toml.limits"
        self.latch_path = self.root / "latch.json"

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder; a second run is refused, as both would append to the same history."""
        return lock.locked(self.root / "lock", "another run; wait for it, or give --artifacts another folder")

    def history(self) -> list[Record]:
        """All records that can be read, oldest first."""
        return self.read().records

    def read(self) -> History:
        """The history, with what is wrong with it."""
        return read(self.history_path)

    def append(self, record: Record) -> None:
        """Append a record and flush it to the disk; a record that is already there is not repeated."""
        append(self.history_path, record)

    def run_folder(self, run: str) -> Path:
        """The folder of a run."""
        return self.root / "runs" / run

    def new_name(self, infix: str = "") -> str:
        """A name that no run or act has had, whatever the clock says; names have no order."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        known = {record.run for record in self.history()}
        for n in range(1000):
            name = f"{stamp}-{infix}{n:03}"
            if name not in known and not self.run_folder(name).exists():
                return name
        raise FileError(str(self.root), "already has a thousand runs of this second")

    def begin(self, plan: Mapping[str, Any]) -> str:
        """Create a run; returns its name. The plan's `after` is the length of the history when it began."""
        run = self.new_name()
        try:
            self.run_folder(run).mkdir(parents=True)
        except OSError as error:
            raise FileError(str(self.run_folder(run)), f"cannot be made: {error.strerror or error}") from None
        write_json(self.run_folder(run) / "plan.json", {**plan, "after": self.read().n_lines})
        return run

    def interrupted(self, plan: Mapping[str, Any]) -> tuple[str | None, list[str]]:
        """The interrupted run with this plan, and all other interrupted runs.

        A run after whose beginning the history has grown is never continued: its state would overwrite a later one.
        """
        runs = self.root / "runs"
        try:
            folders = [folder.name for folder in runs.iterdir() if folder.is_dir()]
        except FileNotFoundError:
            return None, []
        except OSError as error:
            raise FileError(str(runs), f"cannot be read: {error.strerror or error}") from None
        known = self.read()
        ended = {record.run for record in known.records}
        plans = {run: read_json(runs / run / "plan.json") or {} for run in sorted(folders) if run not in ended}
        same = [
            run
            for run, found in plans.items()
            if not (runs / run / ABANDONED).exists()
            and found.get("after", known.n_lines) == known.n_lines
            and {key: value for key, value in found.items() if key != "after"} == plan
        ]
        given_up = [
            run
            for run, found in plans.items()
            if run not in same[-1:] and not found.get("given_up") and not (runs / run / ABANDONED).exists()
        ]
        return (same[-1] if same else None), given_up

    def give_up(self, run: str) -> None:
        """Mark a run as abandoned, without a change of its files: its record may only be lost."""
        files.write(self.run_folder(run) / ABANDONED, "")

    def result(self, run: str, stage: str) -> StageResult | None:
        """The result of a stage; None if it has not ended. A damaged file is set aside, told, and None as well."""
        path = self._result_path(run, stage)
        if not path.exists():
            return None
        try:
            return StageResult.from_dict(read_json(path) or {})
        except (KeyError, TypeError, ValueError, AttributeError, Error) as error:
            aside = path.with_name(f"{path.name}.damaged")
            path.replace(aside)
            warnings.warn(f"{path}: cannot be read ({error}); it is {aside.name} now, {stage} runs again", stacklevel=2)
            return None

    def keep(self, run: str, result: StageResult) -> None:
        """Write a stage's result."""
        write_json(self._result_path(run, result.stage), result.as_dict())

    def _result_path(self, run: str, stage: str) -> Path:
        return self.run_folder(run) / "stages" / f"{stage}.json"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    files.write(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
