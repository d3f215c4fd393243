"""Receipts and feedback."""

from __future__ import annotations

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.store import Project, Receipt, Request
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


def test_feedback_of_a_request(project: Project, clock: Clock) -> None:
    for id in ("r1", "r2"):
        project.requests.begin(Request(id=id, api="native", model="demo"))
    first = project.feedback.put("r1", "good")
    clock.now += 1
    second = project.feedback.put("r2", None, "better \0 \udc00")
    assert project.feedback.get("r1") == first
    assert list(project.feedback.between(0, clock.now + 1)) == [first, second]
    clock.now += 1
    changed = project.feedback.put("r1", "bad", "no")
    assert list(project.feedback.between(0, clock.now + 1)) == [second, changed]
    project.feedback.put("r2", None, None)
    assert list(project.feedback.between(0, clock.now + 1)) == [changed]


def test_feedback_outlives_its_request(project: Project, clock: Clock) -> None:
    project.requests.begin(Request(id="r1", api="native", model="demo"))
    project.requests.finish("r1", "done")
    given = project.feedback.put("r1", "good")
    assert project.requests.purge(clock.now + 1) == 1
    assert project.feedback.get("r1") == given


def test_bad_feedback_is_refused(project: Project) -> None:
    project.requests.begin(Request(id="r1", api="native", model="demo"))
    with pytest.raises(NotFound, match="unknown: no request"):
        project.feedback.put("unknown", "good")
    with pytest.raises(InvalidArgument, match="rating: is 'great', must be one of good, bad"):
        project.feedback.put("r1", "great")
    assert project.feedback.get("r1") is None
