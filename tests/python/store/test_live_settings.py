"""Revisions of settings: one in force, none lost, each in the log with who and what was before."""

from __future__ import annotations

import json
import threading

import pytest

from flyball import errors
from flyball.store import Project, Store
from flyball.store.chain import first_broken
from flyball.store.examples import Conflict
from flyball.store.live_settings import ACTIVE, FIRST, ROLLED_BACK
from tests.python.store.conftest import Clock


def test_the_newest_active_one_is_in_force(project: Project, clock: Clock) -> None:
    rows = project.live_settings
    assert rows.current() == FIRST == rows.get(0)
    first = rows.add({"serve.parallel": 2}, 0, "ada", "too slow", 30)
    assert first == rows.current() == rows.get(1)
    assert (first.settings, first.who, first.why, first.created) == (
        {"serve.parallel": 2},
        "ada",
        "too slow",
        clock.now,
    )
    rows.add({"serve.parallel": 1}, 1, "bob")
    assert rows.roll_back(2, "server", "a step takes 9 s")
    assert rows.current() == first
    assert not rows.roll_back(2, "server", "again")
    assert not rows.roll_back(0, "server", "there is nothing before")
    third = rows.add({}, 1, "ada")
    assert third.number == 3, "no number is given twice"
    assert [(each.number, each.state, each.fault) for each in rows.latest(9)] == [
        (3, ACTIVE, None),
        (2, ROLLED_BACK, "a step takes 9 s"),
        (1, ACTIVE, None),
    ]
    with pytest.raises(errors.NotFound):
        rows.get(9)


def test_the_log_has_who_and_what_was_before(project: Project) -> None:
    project.live_settings.add({"serve.parallel": 2, "max_tokens": 8}, 0, "ada")
    project.live_settings.add({"serve.parallel": 3}, 1, "bob", "room")
    project.live_settings.roll_back(2, "server", "it stalls")
    acts = project.log.all()
    assert first_broken(acts) is None
    told = [json.loads(act.json) for act in acts]
    assert [(each["act"], each["by"], each["revision"], each["why"], each["changes"]) for each in told] == [
        ("settings.change", "ada", 1, "", {"serve.parallel": [None, 2], "max_tokens": [None, 8]}),
        ("settings.change", "bob", 2, "room", {"serve.parallel": [2, 3], "max_tokens": [8, None]}),
        ("settings.roll_back", "server", 2, "it stalls", {"serve.parallel": [3, 2], "max_tokens": [None, 8]}),
    ]


def test_of_two_writers_one_is_told(store: Store) -> None:
    """They begin at the same time, with the same revision."""
    outcomes: list[str] = []
    together = threading.Barrier(4)

    def write(n: int) -> None:
        rows = store.project().live_settings
        together.wait()
        try:
            rows.add({"serve.parallel": n + 1}, 0, f"writer {n}")
            outcomes.append("done")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "conflict", "conflict", "done"]
    assert len(store.project().live_settings.latest(9)) == len(store.project().log.all()) == 1


@pytest.mark.parametrize(
    "how",
    [
        {"why": "x" * 1001},
        {"why": "a\0b"},
        {"by": ""},
        {"watch_seconds": -1},
        {"settings": {"serve.routes": "x" * (1 << 20)}},
    ],
)
def test_what_cannot_be_stored_changes_nothing(project: Project, how: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidArgument):
        project.live_settings.add(**{"settings": {}, "expected": 0, "by": "ada"} | how)  # type: ignore[arg-type]
    assert project.live_settings.current() == FIRST
    assert project.log.all() == []
