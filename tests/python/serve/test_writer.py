"""The thread that stores: some at a time, each failure alone, and nothing lost at the end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flyball.errors import InvalidArgument
from flyball.serve import writer
from flyball.serve.writer import Writer
from flyball.store import Request, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="test") as store:
        yield store


def begin(store: Store, id: str) -> None:
    store.project().requests.begin(Request(id=id, api="test", model="demo"))


def states(store: Store) -> int:
    return store.project().requests.counts()["waiting"]


def test_what_comes_together_is_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    n_transactions = 0
    real = Store.together

    def counted(self: Store) -> object:
        nonlocal n_transactions
        n_transactions += 1
        return real(self)

    monkeypatch.setattr(Store, "together", counted)
    monkeypatch.setattr(writer, "_GATHER_SECONDS", 60)  # settle() ends it, however slowly the work comes
    failures: list[Exception] = []
    made = Writer(store, failures.append)
    seen: list[int] = []
    for number in range(20):
        made.put_in_store(partial(begin, store, f"r{number}"))
    made.put_in_store(lambda: seen.append(states(store)))  # it sees what those before it stored
    made.settle()
    assert seen == [20] == [states(store)]
    assert n_transactions == 1
    made.close()
    assert not failures


def test_what_fails_fails_alone(store: Store) -> None:
    failures: list[Exception] = []
    made = Writer(store, failures.append)
    made.do(lambda: [][0])
    for id in ("a", "b", "a", "c"):
        made.put_in_store(partial(begin, store, id))
    made.close()
    assert [type(failure) for failure in failures] == [IndexError, InvalidArgument]
    assert states(store) == 3


def test_work_may_give_work_and_the_end_waits_for_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_GATHER_SECONDS", 60)  # neither waits for it
    failures: list[Exception] = []
    made = Writer(store, failures.append)
    made.settle()
    made.do(lambda: made.put_in_store(lambda: begin(store, "a")))
    made.settle()
    assert states(store) == 1
    made.do(lambda: made.do(lambda: made.put_in_store(lambda: begin(store, "b"))))
    made.close()
    assert states(store) == 2
    made.do(lambda: begin(store, "c"))
    made.settle()
    assert states(store) == 2
    assert not failures
