"""The result file, written after every measurement, so that an interrupted run can continue.

schema_version 1: {schema_version, machine, programs, lengths, files, cases: {key: case}}; a case has its test and
settings, `chosen` (the variant of each program), `tried` (figures of its variants in the warm-up), `missing` (why a
program has no figure) and `rounds`: one {program: sample} each, with `calibration_ms` of the round.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
_MUST_AGREE = ("machine", "lengths")


class BadResults(Exception):
    """A result file that cannot be read or continued."""


def read(path: Path) -> dict[str, Any]:
    """A result file of a known schema."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadResults(f"{path} cannot be read: {error}") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version != SCHEMA_VERSION:
        raise BadResults(f"{path} has schema version {version!r}, this program reads {SCHEMA_VERSION}")
    return dict(found)


class Results:
    """The document and its file."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self.document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **about, "files": {}, "cases": {}}
        if path.exists():
            before = read(path)
            for key in _MUST_AGREE:
                _agree(path, key, before[key], json.loads(json.dumps(about[key])))
            for name, version in about["programs"].items():  # programs may be added, but none may change
                _agree(path, f"programs.{name}", before["programs"].setdefault(name, version), version)
            self.document = before

    def file(self, name: str, facts: dict[str, Any]) -> None:
        """Record a model file; a different one of the same name is refused."""
        _agree(self.path, f"files.{name}", self.document["files"].setdefault(name, facts), facts)

    def case(self, key: str, about: dict[str, Any]) -> dict[str, Any]:
        """The case's entry, created if new."""
        empty = {**about, "chosen": {}, "tried": {}, "missing": {}, "rounds": []}
        entry: dict[str, Any] = self.document["cases"].setdefault(key, empty)
        return entry

    def save(self) -> None:
        """Write the file atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_name(self.path.name + ".new")
        with aside.open("w") as file:
            json.dump(self.document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)


def _agree(path: Path, name: str, before: Any, now: Any) -> None:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            _agree(path, f"{name}.{key}", before.get(key), now.get(key))
    elif before != now:
        raise BadResults(f"{path} was measured with {name} = {before!r}, now it is {now!r}: give another --out")
