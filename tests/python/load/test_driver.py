"""The driver in virtual time: users, limits, ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flyball.load import driver
from flyball.load.flows import Failed, Visit
from flyball.load.record import Run

from . import virtual
from .plans import even, flow, plan, users

Perform = Callable[[Visit, object], Coroutine[Any, Any, None]]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When iterations began; each takes a second, the 13th fails."""
    times: list[float] = []

    async def perform(visit: Visit, options: object) -> None:
        times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)
        if visit.number == 13:
            raise Failed

    monkeypatch.setattr(driver, "perform", perform)
    return times


def run(*flows: Any, **changes: float) -> Run:
    return virtual.run(driver.run(plan(*flows, **changes), "http://stub"))


def test_users_for_a_time(begun: list[float]) -> None:
    """Three users who pause for half a second begin at 0, 1.5, 3 and 4.5 s."""
    found = run(flow(users(3, seconds=5, pause_s=0.5)))
    record = found.records[0]
    assert begun == pytest.approx([0.05 + 1.5 * n for n in range(4) for _ in range(3)])
    assert (record.n_begun, record.n_good, record.n_come, record.running) == (12, 12, 12, 0)
    assert list(record.iteration_ms) == pytest.approx([1000] * 12)
    assert not record.late_ms
    assert found.lag_ms
    assert found.seconds == pytest.approx(6, abs=0.1)


def test_iterations_of_each_user(begun: list[float]) -> None:
    record = run(flow(users(2, iterations=7))).records[0]
    assert (len(record.iteration_ms), record.n_good) == (14, 13)
    assert record.seconds == pytest.approx(7)


def test_flows_run_beside_each_other(begun: list[float]) -> None:
    found = run(flow(users(1, iterations=3), name="a"), flow(even(2, 3), name="b"))
    assert [len(record.iteration_ms) for record in found.records] == [3, 6]
    assert found.seconds == pytest.approx(3.5, abs=0.1)


def test_what_comes_while_too_many_run_is_dropped(begun: list[float]) -> None:
    """Four a second of one second each, of which two may run."""
    record = run(flow(even(4, 5, most_running=2))).records[0]
    assert record.n_begun + record.n_dropped == record.n_come == 20
    assert record.n_begun == 10
    assert record.running == 0


@pytest.mark.parametrize("load", [even(1, 5), users(1, seconds=5)], ids=["open", "closed"])
def test_what_goes_on_too_long_is_ended(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third iteration never ends: it has 2 s from the end of the flow's time."""

    async def perform(visit: Visit, options: object) -> None:
        await asyncio.sleep(1e9 if visit.number == 3 else 0.5)

    monkeypatch.setattr(driver, "perform", perform)
    found = run(flow(load), grace_s=2)
    record = found.records[0]
    assert record.n_unfinished == 1
    assert record.n_come == len(record.iteration_ms) + 1
    assert record.running == 0
    assert found.seconds == pytest.approx(7, abs=0.1)
    assert not found.stopped


def test_a_run_that_is_stopped_tells_what_it_saw(begun: list[float]) -> None:
    async def main() -> Run:
        task = asyncio.create_task(driver.run(plan(flow(even(2, 1000)), flow(users(1, 1000), name="b")), "http://stub"))
        await asyncio.sleep(3)
        task.cancel()
        return await task

    found = virtual.run(main())
    assert found.stopped
    assert [record.running for record in found.records] == [0, 0]
    assert found.records[0].n_unfinished == 2
    assert found.seconds == pytest.approx(2.95)


def test_a_defect_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def perform(visit: Visit, options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(driver, "perform", perform)
    with pytest.raises(ExceptionGroup):
        run(flow(even(1, 2)))


def test_progress_is_told(begun: list[float]) -> None:
    told: list[int] = []
    virtual.run(
        driver.run(plan(flow(even(1, 5))), "http://stub", tell=lambda found: told.append(found.records[0].n_begun))
    )
    assert told == sorted(told)
    assert len(told) >= 10
