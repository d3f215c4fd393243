"""Canaries of a server: their outcomes in the store decide, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.learn.adapters import Registry
from flyball.serve.canaries import Canaries
from flyball.serve.records import Records
from flyball.store import Feedback, Project, Request, Store, StoredAdapter

CANARY = "c" * 64


class Told:
    """Records whose journal is a list."""

    def __init__(self, store: Store) -> None:
        self.records = Records(store)
        self.events: list[str] = []
        self.records.tell = lambda reason_id, data: self.events.append(reason_id)  # type: ignore[method-assign]

    def judge(self, how: str, project: Project) -> None:
        canaries = [(project.name, row) for row in project.adapters.in_use() if row.state == "canary"]
        asyncio.run(Canaries(how, self.records).judge(canaries))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as store:
        yield store


@pytest.fixture
def project(store: Store) -> Project:
    project = store.project()
    registry = Registry(project, "ada")
    for digest in ("a" * 64, CANARY):
        row = StoredAdapter(digest, digest[0], "f" * 64, None, "", None, "{}", "/", 0, 0)
        project.adapters.add(row, "ADAPTER_ADDED", {}, "ada")
    registry.promote("a", force=True)
    registry.promote("c", share=10, force=True)
    return project


def answer(project: Project, number: int, arm: str, state: str = "done", rating: str | None = None) -> None:
    identity = f"{arm}-{number}"
    project.requests.begin(Request(id=identity, api="x", model="m", state="running", adapter=CANARY, arm=arm))
    project.requests.finish(identity, state, request_key=f"key {identity}", n_generated_tokens=4)
    if rating is not None:
        project.feedback.rate(Feedback(answer_id="", request_id=identity, rating=rating))


def states(project: Project) -> dict[str, str]:
    return {row.name: row.state for row in project.adapters.all()}


def test_a_canary_that_fails_is_rolled_back_and_the_reason_kept(store: Store, project: Project) -> None:
    told = Told(store)
    for number in range(5):
        answer(project, number, "canary", "failed")
        answer(project, number, "control")
    told.judge("off", project)
    assert states(project) == {"a": "active", "c": "canary"}
    told.judge("rollback", project)
    assert states(project) == {"a": "active", "c": "rolled_back"}
    assert told.events == ["ADAPTER_CANARY_WORSE"]
    last = list(project.adapters.events(CANARY))[-1]
    assert (last.reason_id, last.who) == ("ADAPTER_CANARY_WORSE", "server")
    assert last.data["evidence"]["failures"] == {"canary": 5, "control": 0}
    told.judge("rollback", project)
    assert told.events == ["ADAPTER_CANARY_WORSE"], "once"


def test_what_users_say_counts(store: Store, project: Project) -> None:
    told = Told(store)
    for number in range(6):
        answer(project, number, "canary", rating="bad")
        answer(project, number, "control", rating="good")
    told.judge("rollback", project)
    assert states(project) == {"a": "active", "c": "rolled_back"}


def test_too_little_decides_nothing(store: Store, project: Project) -> None:
    told = Told(store)
    answer(project, 1, "canary", "failed")
    answer(project, 2, "canary", "canceled")
    for how in ("rollback", "promote"):
        told.judge(how, project)
    assert states(project) == {"a": "active", "c": "canary"}
    assert told.events == []


def test_a_canary_that_is_as_good_becomes_active_where_it_may(store: Store, project: Project) -> None:
    told = Told(store)
    with store.together():
        for number in range(60):
            answer(project, number, "canary", rating="good")
        for number in range(120):
            answer(project, number, "control", rating="bad" if number < 40 else None)
    told.judge("rollback", project)
    assert states(project) == {"a": "active", "c": "canary"}
    told.judge("promote", project)
    assert states(project) == {"a": "retired", "c": "active"}
    assert told.events == ["ADAPTER_CANARY_PASSED"]


def test_another_projects_outcomes_change_nothing(store: Store, project: Project) -> None:
    other = store.create_project("other")
    for number in range(9):
        answer(other, number, "canary", "failed")
    told = Told(store)
    told.judge("rollback", project)
    assert states(project) == {"a": "active", "c": "canary"}
