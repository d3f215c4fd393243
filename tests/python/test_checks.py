"""The record of the checks, which programs write that run for hours."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.golden import checks


def test_who_records_at_once_keeps_the_numbers_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number is there, of kinds and names that several writers add one by one; nothing else is left behind."""
    monkeypatch.setattr(checks, "RECORD", tmp_path / "checks.json")
    checks.RECORD.write_text("{}")

    def write(kind: str) -> None:
        for n in range(40):
            checks.record(kind, {f"{kind}-{n}": n})

    with ThreadPoolExecutor(len(checks.KINDS)) as pool:
        list(pool.map(write, checks.KINDS))
    assert checks.load() == {kind: {f"{kind}-{n}": n for n in range(40)} for kind in checks.KINDS}
    assert [path.name for path in tmp_path.iterdir()] == ["checks.json"]
