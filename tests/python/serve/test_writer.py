"""The thread that stores: some at a time, each failure alone, and nothing lost at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from flyball.errors import InvalidArgument, Unavailable
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


# --- a store that does not answer ------------------------------------------------------------------------------------


class Away:
    """Work that a store refuses until it is back."""

    def __init__(self) -> None:
        self.is_away = True
        self.done: list[int] = []
        self.n_tries = 0

    def put(self, made: Writer, number: int) -> None:
        made.put_in_store(lambda: self._store(number))

    def _store(self, number: int) -> None:
        self.n_tries += 1
        if self.is_away:
            raise Unavailable("store", "does not answer")
        self.done.append(number)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_RETRY_SECONDS", 0.05)


@pytest.mark.usefixtures("quick")
def test_what_it_cannot_take_waits_in_order(store: Store) -> None:
    failures: list[Exception] = []
    made, away, signed = Writer(store, failures.append), Away(), threading.Event()
    for number in range(600):  # more than one transaction
        away.put(made, number)
    assert not made.settle(0.3)
    made.do(signed.set)
    assert signed.wait(60)  # what stores nothing goes on
    away.put(made, 600)
    assert not made.settle(0.3)
    assert away.done == []
    away.is_away = False
    assert made.settle(60)
    assert away.done == list(range(601))
    assert [type(failure) for failure in failures] == [Unavailable]  # told once
    away.is_away = True
    away.put(made, 601)
    assert not made.settle(0.3)
    away.is_away = False
    made.close()
    assert away.done[-1] == 601
    assert len(failures) == 2


@pytest.mark.usefixtures("quick")
def test_the_end_does_not_wait_for_it(store: Store) -> None:
    failures: list[Exception] = []
    made, away = Writer(store, failures.append), Away()
    for number in range(3):
        away.put(made, number)
    made.close()
    assert [type(failure) for failure in failures] == [Unavailable] * 4  # that it is away, and each that is lost
    assert made.settle(0)


@pytest.mark.usefixtures("quick")
def test_the_oldest_go_when_there_are_too_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MOST_KEPT", 10)
    failures: list[Exception] = []
    made, away = Writer(store, failures.append), Away()
    for number in range(30):
        away.put(made, number)
    assert not made.settle(0.3)
    away.is_away = False
    assert made.settle(60)
    assert away.done == list(range(20, 30))
    assert len(failures) == 21
    made.close()


@pytest.mark.usefixtures("quick")
def test_it_goes_away_between_two(store: Store) -> None:
    """Of those that are stored one by one, as one of them is wrong."""
    failures: list[Exception] = []
    made, away = Writer(store, failures.append), Away()
    made.put_in_store(partial(begin, store, "a"))
    made.put_in_store(lambda: [][0])
    away.put(made, 1)
    made.put_in_store(partial(begin, store, "b"))
    assert not made.settle(0.3)
    away.is_away = False
    assert made.settle(60)
    assert states(store) == 2
    assert away.done == [1]
    assert sorted(type(failure).__name__ for failure in failures) == ["IndexError", "Unavailable"]
    made.close()
