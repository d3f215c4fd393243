"""The registry's rows: states that follow, one active adapter for a model, and events that say why."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from flyball import errors
from flyball.store import Project, Request, Store, StoredAdapter

from .conftest import Clock

OpenStore = Callable[..., Store]
MODEL = "f" * 64


def row(digest: str, fingerprint: str = MODEL, name: str = "") -> StoredAdapter:
    return StoredAdapter(digest, name or f"name-{digest}", fingerprint, None, "", None, "{}", f"/{digest}", 0, 0)


def add(project: Project, *digests: str, fingerprint: str = MODEL) -> None:
    for digest in digests:
        project.adapters.add(row(digest, fingerprint), "ADAPTER_ADDED", {}, "ada")


def promote(project: Project, digest: str) -> None:
    project.adapters.move(digest, "active", "ADAPTER_PROMOTED", {}, "ada")


def states(project: Project) -> dict[str, str]:
    return {each.digest: each.state for each in project.adapters.all()}


def test_a_promotion_takes_the_place_of_another_and_a_rollback_gives_it_back(project: Project) -> None:
    add(project, "a", "b", "c")
    for digest in "abc":
        promote(project, digest)
    assert states(project) == {"a": "retired", "b": "retired", "c": "active"}
    project.adapters.move("c", "rolled_back", "ADAPTER_ROLLED_BACK", {"why": "worse"}, "ada")
    assert states(project) == {"a": "retired", "b": "active", "c": "rolled_back"}
    project.adapters.move("b", "rolled_back", "ADAPTER_ROLLED_BACK", {}, "ada")
    assert states(project) == {"a": "active", "b": "rolled_back", "c": "rolled_back"}
    project.adapters.move("a", "rolled_back", "ADAPTER_ROLLED_BACK", {}, "ada")
    assert project.adapters.in_use() == []
    events = list(project.adapters.events("b"))
    assert [each.event for each in events] == ["trained", "active", "retired", "active", "rolled_back"]
    assert events[1].data == {"from": "trained", "replaces": "a"}
    assert events[3].data == {"from": "retired", "replaces": "a", "restored": True, "after": "c"}
    assert [each.sequence for each in project.adapters.events()] == list(range(1, 14))


def test_names_and_digests_are_never_given_again(project: Project) -> None:
    add(project, "a")
    project.adapters.move("a", "retired", "ADAPTER_RETIRED", {}, "ada")
    for again in (row("a", name="other"), row("b", name="name-a")):
        with pytest.raises(errors.InvalidArgument, match="never given again"):
            project.adapters.add(again, "ADAPTER_ADDED", {}, "ada")
    assert project.adapters.get("name-a") == project.adapters.get("a")
    assert project.adapters.get("b") is None


@pytest.mark.parametrize("hostile", ["\0", "\ud800", "'; drop table adapters; --"])
def test_no_name_finds_what_it_does_not_name(project: Project, hostile: str) -> None:
    add(project, "a")
    assert project.adapters.get(hostile) is None


def test_what_does_not_follow_is_refused_and_changes_nothing(project: Project, store: Store) -> None:
    add(project, "a", "b")
    with pytest.raises(errors.InvalidArgument, match="is trained: from there it cannot become rolled_back"):
        project.adapters.move("a", "rolled_back", "ADAPTER_ROLLED_BACK", {}, "ada")
    with pytest.raises(errors.InvalidArgument, match="must be one of"):
        project.adapters.move("a", "famous", "ADAPTER_PROMOTED", {}, "ada")
    project.adapters.move("a", "canary", "ADAPTER_CANARY_BEGUN", {}, "ada", share=10)
    with pytest.raises(errors.InvalidArgument, match="is this model's canary already"):
        project.adapters.move("b", "canary", "ADAPTER_CANARY_BEGUN", {}, "ada", share=10)
    other = store.create_project("other")
    with pytest.raises(errors.NotFound):
        other.adapters.move("a", "active", "ADAPTER_PROMOTED", {}, "eve")
    with pytest.raises(errors.NotFound):
        other.adapters.note("a", "gate", "ADAPTER_UNDECIDED", {}, "eve")
    assert (other.adapters.all(), list(other.adapters.events())) == ([], [])
    assert states(project) == {"a": "canary", "b": "trained"}
    assert len(list(project.adapters.events())) == 3


def test_each_model_and_each_project_has_its_own_active_one(project: Project, store: Store) -> None:
    other = store.create_project("other")
    add(project, "a")
    add(project, "b", fingerprint="e" * 64)
    add(other, "a")
    for where, digest in ((project, "a"), (project, "b"), (other, "a")):
        promote(where, digest)
    assert [each.digest for each in sorted(project.adapters.in_use(), key=lambda row: row.digest)] == ["a", "b"]
    assert [each.state for each in other.adapters.all()] == ["active"]


def test_four_that_promote_at_once_leave_one_active_and_lose_no_event(open_store: OpenStore) -> None:
    """Each with a store of its own, as servers and tools have."""
    digests = [f"adapter-{n}" for n in range(8)]
    add(open_store().project(), *digests)
    projects = [open_store(instance=None).project() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: promote(projects[n % 4], digests[n]), range(8)))
    project = projects[0]
    assert sorted(states(project).values()) == ["active"] + ["retired"] * 7
    events = list(project.adapters.events())
    assert [each.sequence for each in events] == list(range(1, 8 + 8 + 7 + 1))
    chain = [each.data["replaces"] for each in events if each.event == "active"]
    assert sorted(filter(None, chain)) == sorted(set(digests) - {project.adapters.in_use()[0].digest})


def test_requests_of_a_comparison(project: Project, clock: Clock) -> None:
    for n, (arm, state) in enumerate(
        [("canary", "done"), (None, "done"), ("control", "failed"), ("canary", "canceled")]
    ):
        project.requests.begin(Request(id=str(n), api="x", model="m", state="running", adapter="a" * 64, arm=arm))
        clock.now += 10
        project.requests.finish(str(n), state, n_generated_tokens=9, first_token=1, request_key=f"k{n}")
    found = project.requests.compared(0)
    assert [(each.id, each.arm, each.adapter) for each in found] == [
        ("0", "canary", "a" * 64),
        ("2", "control", "a" * 64),
    ]
    assert project.requests.compared(clock.now) == []
