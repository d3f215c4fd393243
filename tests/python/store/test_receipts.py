"""Receipts."""

from __future__ import annotations

import pytest

from flyball.errors import InvalidArgument
from flyball.store import Project, Receipt
from tests.python.store.conftest import Clock


def test_a_receipt_comes_back_byte_by_byte(project: Project, clock: Clock) -> None:
    json = '{ "text": "ü\\u0000\\ud800 😀",\r\n "n": 1e400 }'
    stored = project.receipts.put("r1", json, '{"signed": 1}', expires=clock.now + 1)
    assert stored == Receipt("r1", json, '{"signed": 1}', clock.now, clock.now + 1)
    assert project.receipts.get("r1") == stored
    assert project.receipts.get("r2") is None


def test_a_receipt_never_changes(project: Project, clock: Clock) -> None:
    first = project.receipts.put("r1", "{}")
    clock.now += 1
    assert project.receipts.put("r1", "{}", expires=5) == first
    with pytest.raises(InvalidArgument, match="receipts are never changed"):
        project.receipts.put("r1", "{ }")
    assert project.receipts.get("r1") == first


@pytest.mark.parametrize("json", ["", "a\0", "\ud800"])
def test_what_no_database_stores_is_refused(project: Project, json: str) -> None:
    with pytest.raises(InvalidArgument, match="json"):
        project.receipts.put("r1", json)


def test_receipts_in_time_order_until_they_expire(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyball.store.scope._PAGE", 2)
    start = clock.now
    for number in (5, 3, 4, 1, 2):
        clock.now += number % 2
        project.receipts.put(f"r{number}", "{}", expires=start + 10 + number if number > 1 else None)

    def ids(start: int, end: int) -> list[str]:
        return [receipt.id for receipt in project.receipts.between(start, end)]

    assert ids(start, start + 9) == ["r5", "r3", "r4", "r1", "r2"]
    assert ids(start + 2, start + 3) == ["r3", "r4"]
    clock.now = start + 13
    assert project.receipts.purge() == 2
    assert ids(0, start + 9) == ["r5", "r4", "r1"]
    clock.now = start + 1000
    assert project.receipts.purge() == 2
    assert ids(0, start + 9) == ["r1"]  # this one is kept
