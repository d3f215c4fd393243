"""Requests, and what crashes and repetitions do to them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from flyball.errors import InvalidArgument
from flyball.store import Project, Request, Store
from tests.python.store.conftest import Clock, OpenStore


def asked(id: str = "r1", **known: Any) -> Request:
    return Request(id=id, api="openai_chat", model="demo", **known)


def test_a_request_from_begin_to_end(project: Project, clock: Clock) -> None:
    begun = project.requests.begin(asked(key_id="key_1", seed=(1 << 64) - 1))
    assert begun == asked(key_id="key_1", seed=(1 << 64) - 1, created=clock.now, instance="one")
    clock.now += 10
    assert project.requests.start("r1", fingerprint="f", request_key="k", n_prompt_tokens=5)
    clock.now += 10
    assert project.requests.finish(
        "r1", "done", stop_reason="stop", n_generated_tokens=0, first_token=clock.now - 1, digest="d"
    )
    wanted = replace(
        begun, state="done", fingerprint="f", request_key="k", n_prompt_tokens=5, stop_reason="stop", digest="d",
        n_generated_tokens=0, first_token=clock.now - 1, started=clock.now - 10, finished=clock.now,
    )  # fmt: skip
    assert project.requests.get("r1") == wanted
    assert project.requests.get("r2") is None
    assert project.requests.counts() == {
        "waiting": 0, "running": 0, "done": 1, "failed": 0, "canceled": 0, "interrupted": 0,
    }  # fmt: skip


def test_the_first_end_stands(project: Project) -> None:
    project.requests.begin(asked())
    assert project.requests.finish("r1", "canceled")
    assert not project.requests.start("r1")
    assert not project.requests.finish("r1", "done", digest="d")
    assert not project.requests.finish("unknown", "done")
    ended = project.requests.get("r1")
    assert ended
    assert (ended.state, ended.digest) == ("canceled", None)


@pytest.mark.parametrize("keep", [False, True])
def test_texts_are_stored_only_where_they_are_kept(open_store: OpenStore, keep: bool) -> None:
    requests = open_store(keep_text=keep).project().requests
    text = "secret \0 \ud800 😀"
    assert requests.begin(asked(prompt=text)).prompt == (text if keep else None)
    requests.finish("r1", "done", answer=text)
    stored = requests.get("r1")
    assert stored
    assert (stored.prompt, stored.answer) == ((text, text) if keep else (None, None))


def test_an_idempotency_key_has_one_request(project: Project) -> None:
    first = project.requests.begin(asked("r1", idempotency_key="k"))
    assert project.requests.begin(asked("r2", idempotency_key="k")) == first
    assert project.requests.get("r2") is None
    project.requests.finish("r1", "done", digest="d")
    assert project.requests.begin(asked("r2", idempotency_key="k")).digest == "d"
    assert project.requests.by_idempotency_key("k") == project.requests.get("r1")
    assert project.requests.by_idempotency_key("other") is None
    assert project.requests.begin(asked("r3")).id == "r3"
    assert project.requests.begin(asked("r4")).id == "r4"  # no key is no key


@pytest.mark.parametrize("state", ["failed", "canceled", "interrupted"])
def test_a_request_without_an_answer_frees_its_key(project: Project, state: str) -> None:
    project.requests.begin(asked("r1", idempotency_key="k"))
    project.requests.finish("r1", state)
    assert project.requests.by_idempotency_key("k") is None
    assert project.requests.begin(asked("r2", idempotency_key="k")).id == "r2"
    stored = project.requests.get("r1")
    assert stored
    assert stored.idempotency_key == "k"


def test_of_many_threads_with_one_key_one_begins(project: Project) -> None:
    begun: list[str] = []

    def begin(number: int) -> None:
        begun.append(project.requests.begin(asked(f"r{number}", idempotency_key="k")).id)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 12
    assert len(set(begun)) == 1
    assert sum(project.requests.counts().values()) == 1


def test_an_id_is_used_once(project: Project) -> None:
    project.requests.begin(asked())
    with pytest.raises(InvalidArgument, match="r1 is already a request's"):
        project.requests.begin(asked(idempotency_key="k"))


def test_requests_between_times_in_states(project: Project, clock: Clock) -> None:
    start = clock.now
    for number in range(6):
        clock.now = start + number // 2
        project.requests.begin(asked(f"r{number}"))
        if number % 2:
            project.requests.finish(f"r{number}", "done")

    def ids(begin: int, end: int, **options: Any) -> list[str]:
        return [request.id for request in project.requests.between(begin, end, **options)]

    assert ids(start, start + 2) == ["r0", "r1", "r2", "r3"]
    assert ids(start + 1, start + 9, newest_first=True) == ["r5", "r4", "r3", "r2"]
    assert ids(start, start + 9, states=["done"]) == ["r1", "r3", "r5"]
    assert ids(start, start + 9, states=[]) == []
    assert ids(start + 9, start) == []
    with pytest.raises(InvalidArgument, match="states"):
        project.requests.between(0, 1, states=["finished"])


def test_streams_go_over_pages_and_see_no_row_twice(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flyball.store.scope._PAGE", 3)
    for number in range(9):
        project.requests.begin(asked(f"r{number}"))
    seen = []
    for request in project.requests.between(0, clock.now + 1):
        seen.append(request.id)
        project.requests.finish(request.id, "done")  # a writer does not wait for the reader
    assert seen == [f"r{number}" for number in range(9)]
    assert [request.id for request in project.requests.between(0, clock.now + 1, newest_first=True)] == seen[::-1]


def test_purge_deletes_what_ended_before(project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.scope._PURGED_AT_ONCE", 2)
    for number in range(7):
        project.requests.begin(asked(f"r{number}"))
        if number < 5:
            project.requests.finish(f"r{number}", "done")
    clock.now += 1
    project.requests.finish("r5", "done")
    assert project.requests.purge(clock.now) == 5
    assert [request.id for request in project.requests.between(0, clock.now + 1)] == ["r5", "r6"]


def test_what_a_crash_left_is_interrupted(open_store: OpenStore, clock: Clock) -> None:
    first, other = open_store(instance="one"), open_store(instance="two")
    first.create_project("second")
    first.project().requests.begin(asked("r1", state="running"))
    first.project().requests.begin(asked("r2"))
    first.project().requests.begin(asked("r3"))
    first.project().requests.finish("r3", "done")
    first.project("second").requests.begin(asked("r1"))
    other.project().requests.begin(asked("r4", state="running"))
    first.close()
    clock.now += 1000
    open_store(instance=None)  # a tool leaves all as it is
    assert states(other) == {"r1": "running", "r2": "waiting", "r3": "done", "r4": "running"}
    again = open_store(instance="one")
    assert states(again) == {"r1": "interrupted", "r2": "interrupted", "r3": "done", "r4": "running"}
    assert states(again, "second") == {"r1": "interrupted"}
    ended = again.project().requests.get("r1")
    assert ended
    assert ended.finished == clock.now


def states(store: Store, project: str = "default") -> dict[str, str]:
    return {request.id: request.state for request in store.project(project).requests.between(0, 1 << 62)}


BAD: list[tuple[str, Any]] = [
    ("id", ""),
    ("id", "x" * 256),
    ("id", "a\0"),
    ("model", "\udfff"),
    ("idempotency_key", ""),
    ("state", "done"),
    ("seed", 1 << 64),
    ("seed", -1),
    ("n_prompt_tokens", 1 << 63),
    ("n_prompt_tokens", 1.5),
    ("n_prompt_tokens", True),
    ("error", "x" * 10_001),
    ("prompt", b"x"),
]


def test_bad_values_are_refused_alike_by_both_databases(open_store: OpenStore) -> None:
    requests = open_store(keep_text=True).project().requests
    for name, value in BAD:
        with pytest.raises(InvalidArgument) as error:
            requests.begin(replace(asked(), **{name: value}))
        assert error.value.where == name
    assert sum(requests.counts().values()) == 0


def test_an_unknown_fact_or_state_is_refused(project: Project) -> None:
    project.requests.begin(asked())
    with pytest.raises(InvalidArgument, match="created: is no fact"):
        project.requests.finish("r1", "done", created=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match="state"):
        project.requests.finish("r1", "running")
