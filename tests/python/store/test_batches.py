"""Batches and their items: states, claims, tries, restarts, several servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flyball.errors import InvalidArgument, NotFound
from flyball.store import MOST_TRIES, Batch, Counts, NewItem, Project, Store
from flyball.store.schema import batch_items
from tests.python.store.conftest import Clock, OpenStore

HOUR = 3_600_000
LEASE = 60_000


def begin(project: Project, n_items: int = 3, expires: int = 1 << 50) -> Batch:
    batch = project.batches.create("/v1/chat/completions", "file-1", expires, {"who": "me"})
    project.batches.set_items(batch.id, items(n_items))
    return project.batches.advance(batch.id, "in_progress")


def items(n: int) -> list[NewItem]:
    return [NewItem(line, f"c{line}", f'{{"n": {line}}}') for line in range(1, n + 1)]


def states(project: Project, batch: Batch) -> list[str]:
    return [item.state for item in project.items.of(batch.id)]


def counts(project: Project, batch: Batch) -> Counts:
    found = project.batches.get(batch.id)
    assert found
    return found.counts


def test_a_batch_from_begin_to_end(project: Project, clock: Clock) -> None:
    batch = project.batches.create("/v1/chat/completions", "file-1", clock.now + HOUR, {"who": "me"})
    assert (batch.state, batch.metadata, batch.created, batch.counts) == (
        "validating", {"who": "me"}, clock.now, Counts(0, 0, 0, 0),
    )  # fmt: skip
    assert project.batches.set_items(batch.id, items(3)) == 3
    clock.now += 1
    assert project.batches.advance(batch.id, "in_progress").in_progress_at == clock.now
    first, second, third = project.items.claim(10, LEASE)
    assert [first.custom_id, first.line, first.request, first.tries] == ["c1", 1, '{"n": 1}', 1]
    assert counts(project, batch) == Counts(3, 0, 0, 3)
    assert project.items.complete(first, '{"a": 1}', digest="d")
    assert project.items.fail(second, '{"message": "no"}')
    assert counts(project, batch) == Counts(3, 1, 1, 1)
    assert project.items.complete(third, "{}")
    clock.now += 1
    project.batches.advance(batch.id, "finalizing")
    done = project.batches.advance(batch.id, "completed", output_file_id="file-2", error_file_id="file-3")
    assert (done.state, done.output_file_id, done.error_file_id) == ("completed", "file-2", "file-3")
    assert (done.finalizing_at, done.completed_at, done.cancelled_at) == (clock.now, clock.now, None)
    assert project.batches.get(batch.id) == done
    answered = list(project.items.of(batch.id, ["completed"]))
    assert [(item.line, item.response, item.digest) for item in answered] == [(1, '{"a": 1}', "d"), (3, "{}", None)]
    assert [item.error for item in project.items.of(batch.id, ["failed"])] == ['{"message": "no"}']
    assert project.items.claim(10, LEASE) == []


def test_states_follow_their_order(project: Project) -> None:
    batch = begin(project)
    assert project.batches.advance(batch.id, "in_progress") == batch  # a second time is no error
    with pytest.raises(InvalidArgument, match="is in_progress, which completed does not follow"):
        project.batches.advance(batch.id, "completed")
    project.batches.advance(batch.id, "cancelling")
    project.batches.advance(batch.id, "cancelled")
    for state in ("in_progress", "cancelling", "failed"):
        with pytest.raises(InvalidArgument):
            project.batches.advance(batch.id, state)
    with pytest.raises(InvalidArgument, match="must be one of"):
        project.batches.advance(batch.id, "done")
    with pytest.raises(NotFound, match="no batch of this project"):
        project.batches.advance("batch_0", "failed")
    assert project.batches.get("batch_0") is None


def test_items_of_a_batch_that_ends(project: Project) -> None:
    batch = begin(project)
    (claimed,) = project.items.claim(1, LEASE)
    project.batches.advance(batch.id, "cancelling")
    assert states(project, batch) == ["claimed", "cancelled", "cancelled"]
    assert project.items.claim(1, LEASE) == []
    assert project.items.complete(claimed, "{}")  # its answer is not lost
    project.batches.advance(batch.id, "cancelled")
    assert states(project, batch) == ["completed", "cancelled", "cancelled"]
    assert counts(project, batch) == Counts(3, 1, 2, 0)

    late = begin(project)
    (claimed,) = project.items.claim(1, LEASE)
    project.batches.advance(late.id, "expired")
    assert states(project, late) == ["expired"] * 3
    assert not project.items.complete(claimed, "{}")


def test_a_batch_past_its_time_gives_no_items(project: Project, clock: Clock) -> None:
    begin(project, expires=clock.now + 10)
    clock.now += 10
    assert project.items.claim(1, LEASE) == []


def test_older_batches_come_first(project: Project, clock: Clock) -> None:
    first = begin(project, 2)
    clock.now += 1
    second = begin(project, 2)
    claimed = project.items.claim(3, LEASE)
    assert [(item.batch_id, item.line) for item in claimed] == [(first.id, 1), (first.id, 2), (second.id, 1)]
    assert [batch.id for batch in project.batches.all()] == [first.id, second.id]
    assert [batch.id for batch in project.batches.all(["completed"])] == []
    assert [batch.id for batch in project.batches.all(newest_first=True)] == [second.id, first.id]


def test_bad_items_are_told_with_their_line(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.batches.MOST_ITEMS", 4)
    batch = project.batches.create("/v1/x", "file-1", 1 << 50)
    bad: list[tuple[list[NewItem], str]] = [
        ([NewItem(1, "a", "{}"), NewItem(7, "a", "{}")], "line 7: custom_id: 'a' is that of line 1"),
        ([NewItem(2, "a", "{}"), NewItem(2, "b", "{}")], "line: is 2, must be 3"),
        ([NewItem(0, "a", "{}")], "line: is 0"),
        ([NewItem(1, "", "{}")], "line 1: custom_id"),
        ([NewItem(1, "a", "\0")], "line 1: request"),
        (items(5), "line 5: is request 5; a batch has at most 4"),
    ]
    for given, message in bad:
        with pytest.raises(InvalidArgument, match=message):
            project.batches.set_items(batch.id, given)
    with pytest.raises(NotFound):
        project.batches.set_items("batch_0", items(1))
    for metadata in ({"a" * 65: "b"}, {"a": "b" * 513}, {f"{n}": "" for n in range(17)}, {"a": "\0"}, {"a": 1}):
        with pytest.raises(InvalidArgument, match="metadata"):
            project.batches.create("/v1/x", "file-1", 1, metadata)  # type: ignore[arg-type]


def test_a_validation_that_was_cut_short_begins_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.batches._ROWS_AT_ONCE", 2)
    batch = project.batches.create("/v1/x", "file-1", 1 << 50)

    def cut_short() -> Iterator[NewItem]:
        yield from items(5)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        project.batches.set_items(batch.id, cut_short())
    assert counts(project, batch).total == 4
    assert project.batches.set_items(batch.id, items(3)) == 3
    assert counts(project, batch).total == 3


def test_items_come_while_a_batch_is_validated_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flyball.store.batches._ROWS_AT_ONCE", 2)
    batch = project.batches.create("/v1/x", "file-1", 1 << 50)

    def canceled_meanwhile() -> Iterator[NewItem]:
        yield from items(3)
        project.batches.advance(batch.id, "cancelling")
        yield NewItem(4, "c4", "{}")

    with pytest.raises(InvalidArgument, match="is cancelling; only a validating batch takes items"):
        project.batches.set_items(batch.id, canceled_meanwhile())
    assert states(project, batch) == ["cancelled"] * 2


def test_a_failed_try_is_repeated_as_often_as_allowed(project: Project) -> None:
    batch = begin(project, 1)
    for tries in range(1, MOST_TRIES + 1):
        (item,) = project.items.claim(1, LEASE)
        assert item.tries == tries
        assert project.items.fail(item, '{"message": "again"}', again=True)
        assert not project.items.fail(item, "{}", again=True)
    assert states(project, batch) == ["failed"]


def test_items_that_are_given_back_keep_their_tries(project: Project) -> None:
    begin(project, 2)
    for _ in range(MOST_TRIES + 1):
        claimed = project.items.claim(2, LEASE)
        assert [item.tries for item in claimed] == [1, 1]
        project.items.release(claimed)
    assert not project.items.complete(claimed[0], "{}")


def test_a_lapsed_claim_passes_on(open_store: OpenStore, clock: Clock) -> None:
    one, two = (open_store(instance=name).project() for name in ("one", "two"))
    batch = begin(one, 2)
    first, second = one.items.claim(2, LEASE)
    clock.now += LEASE - 1
    assert two.items.claim(2, LEASE) == []
    assert one.items.renew([second], LEASE) == [second]
    clock.now += 1
    (again,) = two.items.claim(2, LEASE)
    assert (again.line, again.tries) == (1, 2)
    assert not one.items.complete(first, "{}")  # it came too late
    assert one.items.renew([first, second], LEASE) == [second]
    assert two.items.complete(again, '{"by": 2}')
    assert one.items.complete(second, "{}")
    assert [item.response for item in one.items.of(batch.id)] == ['{"by": 2}', "{}"]


def test_a_lapsed_claim_that_nobody_took_still_counts(project: Project, clock: Clock) -> None:
    begin(project, 1)
    (item,) = project.items.claim(1, LEASE)
    clock.now += 2 * LEASE
    assert project.items.complete(item, "{}")


def test_items_of_a_server_that_died_are_free_at_once(open_store: OpenStore) -> None:
    one, two = open_store(instance="one"), open_store(instance="two")
    begin(one.project(), 3)
    assert len(one.project().items.claim(2, LEASE)) == 2
    assert [item.line for item in two.project().items.claim(1, LEASE)] == [3]
    one.close()
    again = open_store(instance="one").project().items.claim(3, LEASE)
    assert [(item.line, item.tries) for item in again] == [(1, 2), (2, 2)]


def test_an_item_that_kills_its_server_fails_in_the_end(open_store: OpenStore) -> None:
    batch = begin(open_store(instance="tool").project(), 1)
    for tries in range(1, MOST_TRIES + 1):
        store = open_store()
        assert [item.tries for item in store.project().items.claim(1, LEASE)] == [tries]
        store.close()
    project = open_store().project()
    assert project.items.claim(1, LEASE) == []
    (failed,) = project.items.of(batch.id)
    assert failed.state == "failed"
    assert failed.error
    assert "the server ended 3 times" in json.loads(failed.error)["message"]


def test_no_item_is_claimed_twice(open_store: OpenStore) -> None:
    """By threads of two servers at once."""
    servers = [open_store(instance=name).project() for name in ("one", "two")]
    batch = begin(servers[0], 40)
    claimed: list[int] = []

    def work(project: Project) -> None:
        while some := project.items.claim(3, LEASE):
            for item in some:
                claimed.append(item.line)
                assert project.items.complete(item, "{}")

    threads = [threading.Thread(target=work, args=(servers[n % 2],)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(1, 41))
    assert counts(servers[0], batch) == Counts(40, 40, 0, 0)


def test_a_claim_passes_over_what_another_server_is_claiming(open_store: OpenStore, url: str) -> None:
    """In PostgreSQL: rows that an open transaction has locked are skipped, not waited for."""
    if url.startswith("sqlite"):
        return  # one writer: there is no open transaction beside it
    one, two = open_store(instance="one"), open_store(instance="two", busy_seconds=2)
    begin(one.project(), 3)
    with one._database.writing() as connection:
        scope = one.project().items._scope
        connection.execute(scope.select(batch_items, batch_items.c.line == 1).with_for_update())
        assert [item.line for item in two.project().items.claim(3, LEASE)] == [2, 3]
    assert [item.line for item in two.project().items.claim(3, LEASE)] == [1]


def test_one_server_leads_a_batch(open_store: OpenStore, clock: Clock) -> None:
    one, two = (open_store(instance=name).project() for name in ("one", "two"))
    batch = one.batches.create("/v1/x", "file-1", 1 << 50)
    assert one.batches.lead(batch.id, LEASE)
    assert not two.batches.lead(batch.id, LEASE)
    assert one.batches.lead(batch.id, LEASE)
    clock.now += LEASE
    assert two.batches.lead(batch.id, LEASE)
    assert not one.batches.lead(batch.id, LEASE)
    assert not one.batches.lead("batch_0", LEASE)


def test_a_tool_claims_nothing(open_store: OpenStore) -> None:
    project = open_store(instance=None).project()
    batch = begin(project)
    for act in (lambda: project.items.claim(1, LEASE), lambda: project.batches.lead(batch.id, LEASE)):
        with pytest.raises(InvalidArgument, match="instance: is needed"):
            act()


def test_bad_arguments(project: Project) -> None:
    bad: list[tuple[Any, ...]] = [(0, LEASE), (1001, LEASE), (1, 0), (1.5, LEASE)]
    for arguments in bad:
        with pytest.raises(InvalidArgument):
            project.items.claim(*arguments)
    with pytest.raises(InvalidArgument, match="states"):
        project.items.of("batch_0", ["done"])


def test_purge_takes_batches_that_ended(store: Store, project: Project, clock: Clock) -> None:
    old, running = begin(project), begin(project)
    project.batches.advance(old.id, "failed", errors="[]")
    clock.now += 1
    assert project.batches.purge(clock.now) == 1
    assert [batch.id for batch in project.batches.all()] == [running.id]
    assert list(project.items.of(old.id)) == []
    assert len(list(project.items.of(running.id))) == 3
