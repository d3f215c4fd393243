"""Answers that are given again: room, time and projects."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from flyball.errors import InvalidArgument
from flyball.store import CachedGroup, Project, Request, Store
from tests.python.store.conftest import Clock

FOREVER = 1 << 60
MODEL, OTHER = "a1" * 32, "b2" * 32


def put(project: Project, key: str, content: bytes = b"x" * 10, model: str = MODEL, adapter: str = "") -> None:
    project.cached_answers.put(key, content, fingerprint=model, adapter=adapter, expires=FOREVER)


def test_an_answer_is_its_projects_alone(store: Store, project: Project) -> None:
    other = store.create_project("other")
    put(project, "k", b"\0\xff mine")
    assert other.cached_answers.get("k") is None
    put(other, "k", b"theirs")
    assert project.cached_answers.get("k") == b"\0\xff mine"
    put(project, "k", b"newer")
    assert project.cached_answers.get("k") == b"newer"
    assert other.cached_answers.remove("k")
    assert not other.cached_answers.remove("k")
    assert other.cached_answers.purge() == 0
    assert other.cached_answers.n_bytes() == 0
    assert project.cached_answers.n_bytes() == 5
    for nothing in ("", "\0", "\ud800", "%"):
        assert project.cached_answers.get(nothing) is None
    for key, content in (("", b"x"), ("k" * 256, b"x"), ("\0", b"x"), ("k", b"")):
        with pytest.raises(InvalidArgument):
            put(project, key, content)


def test_what_has_expired_goes_and_then_the_least_recently_used(project: Project, clock: Clock) -> None:
    project.cached_answers.put("k", b"x", fingerprint=MODEL, expires=clock.now + 10)
    put(project, "stays")
    clock.now += 9
    assert project.cached_answers.get("k") == b"x"
    clock.now += 1
    assert project.cached_answers.get("k") is None
    assert project.cached_answers.purge_expired() == 1
    assert [group.n_answers for group in project.cached_answers.groups()] == [1]
    answers = project.cached_answers
    assert answers.purge() == 1
    for number in range(6):
        clock.now += 1
        put(project, f"k{number}")
    clock.now += 1
    answers.touch("k0")
    assert answers.trim(60) == 0
    assert answers.trim(35) == 3
    assert [f"k{number}" for number in range(6) if answers.get(f"k{number}")] == ["k0", "k4", "k5"]
    assert answers.n_bytes() == 30
    assert answers.trim(0) == 3


def test_a_model_or_an_adapter_is_purged(project: Project, clock: Clock) -> None:
    adapter = "c3" * 32
    for number, (model, of) in enumerate([(MODEL, ""), (MODEL, adapter), (OTHER, adapter), (OTHER, "")]):
        put(project, str(number), model=model, adapter=of)
    answers = project.cached_answers
    assert answers.groups()[0] == CachedGroup(MODEL, "", 1, 10, clock.now)
    assert answers.purge("a1", "c3") == 1
    assert answers.purge("%") == answers.purge("_") == 0  # no wildcards
    assert answers.purge(adapter="c3c3") == 1
    assert answers.purge(MODEL) == 1
    assert answers.purge() == 1


def test_four_writers_at_once_lose_nothing(open_store: Callable[..., Store]) -> None:
    """Each of a server of its own: new answers, the same ones, uses, and room that is made."""
    stores = [open_store(instance=f"writer-{number}") for number in range(4)]
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            answers = stores[number].project().cached_answers
            for n in range(12):
                answers.put(f"{number}-{n}", b"y" * 100, fingerprint=MODEL, expires=FOREVER)
                answers.put(f"all-{n}", f"{number}".encode(), fingerprint=MODEL, expires=FOREVER)
                answers.touch(f"{number}-{n}")
                assert answers.trim(1 << 20) == 0
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    answers = stores[0].project().cached_answers
    assert all(answers.get(f"{number}-{n}") == b"y" * 100 for number in range(4) for n in range(12))
    assert all(answers.get(f"all-{n}") in (b"0", b"1", b"2", b"3") for n in range(12))
    assert answers.n_bytes() == 4 * 12 * 100 + 12


def test_a_request_names_the_first_one_whose_receipt_is_kept_longer(project: Project, clock: Clock) -> None:
    project.requests.begin(Request(id="again", api="native", model="demo", state="running"))
    assert project.requests.finish("again", "done", cached_from="first")
    stored = project.requests.get("again")
    assert stored is not None
    assert stored.cached_from == "first"
    project.receipts.put("r", "{}", expires=clock.now + 10)
    project.receipts.put("always", "{}")
    assert project.receipts.keep("r", clock.now + 20)
    assert not project.receipts.keep("r", clock.now + 15)
    assert not project.receipts.keep("always", clock.now + 15)
    assert not project.receipts.keep("nothing", clock.now + 15)
    clock.now += 19
    assert project.receipts.purge() == 0
