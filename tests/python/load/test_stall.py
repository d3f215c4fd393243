"""A stall of the server: an open loop's figures contain it, a closed loop's hide it."""

from __future__ import annotations

import asyncio

import pytest

from bench.stub import Stub
from flyball.load import driver, loop
from flyball.load.flows import Visit
from flyball.load.plan import Arrivals, Users
from flyball.load.quantiles import at
from flyball.load.record import Record

from . import virtual
from .plans import even, flow, plan, users

WORK, STALL = 0.005, (2.0, 1.9)  # seconds of an answer; when the server stalls, for how long


def of_a_stalling_server(load: Arrivals | Users, monkeypatch: pytest.MonkeyPatch) -> Record:
    """In virtual time: every figure is exact."""

    async def perform(visit: Visit, options: object) -> None:
        clock = asyncio.get_running_loop().time
        begins, ends = STALL[0], sum(STALL)
        await asyncio.sleep(max(WORK, ends + WORK - clock() if begins <= clock() < ends else 0))

    monkeypatch.setattr(driver, "perform", perform)
    return virtual.run(driver.run(plan(flow(load)), "http://stub")).records[0]


def test_the_open_loop_contains_the_stall_and_the_closed_loop_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same server, for 10 s: with 100 arrivals a second, and with a user who asks as soon as there is an answer."""
    opened = of_a_stalling_server(even(100, 10), monkeypatch)
    closed = of_a_stalling_server(users(1, seconds=10), monkeypatch)
    assert len(opened.iteration_ms) == 1000
    slow = [took for took in opened.iteration_ms if took > 5.1]
    assert len(slow) == 190  # all that were due in the stall
    assert sorted(slow) == pytest.approx([5 + 10 * n for n in range(1, 191)], abs=11)
    assert at(sorted(opened.iteration_ms), 0.99) == pytest.approx(1805, abs=11)
    assert at(sorted(opened.iteration_ms), 0.9) == pytest.approx(905, abs=11)
    assert len(closed.iteration_ms) > 1500
    assert sum(took > 5.1 for took in closed.iteration_ms) == 1
    assert at(sorted(closed.iteration_ms), 0.99) == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("load", [even(50, 3), users(1, iterations=400)], ids=["open", "closed"])
def test_a_stalling_server_over_http(load: Arrivals | Users) -> None:
    """Counted by when the server got the requests, so that no busy neighbor makes it fail."""
    after, seconds = 0.5, 1.0
    stub = Stub(0.004, (after, seconds))

    async def main() -> tuple[Record, float]:
        async with stub.serving() as url:
            found = await driver.run(plan(flow(load)), url)
        return found.records[0], stub.times[0][0] + after

    record, begins = loop.run(main())
    took = sorted(record.iteration_ms)
    stalled = [answered - came for came, answered in stub.times if begins <= came < begins + seconds]
    assert record.n_good == len(took) == len(stub.times)
    if isinstance(load, Arrivals):
        # What was due in the first half of the stall, 25 of 150, took at least the other half, whenever it was sent.
        assert len(took) == 150
        assert sum(each >= 1e3 * seconds / 2 for each in took) >= 24
        assert at(took, 0.99) >= 1e3 * seconds * 0.9
    else:
        assert len(took) == 400
        assert len(stalled) <= 1  # below the hundredth part that a p99 leaves out


def test_lateness_of_the_generator_is_in_the_times_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that computes for 0.3 s begins what was due meanwhile late; it counts from when it was due."""

    async def perform(visit: Visit, options: object) -> None:
        here = asyncio.get_running_loop()
        assert isinstance(here, virtual.VirtualLoop)
        if visit.number == 3:
            here.pass_time(0.3)
        await asyncio.sleep(WORK)

    monkeypatch.setattr(driver, "perform", perform)
    record = virtual.run(driver.run(plan(flow(even(10, 1))), "http://stub")).records[0]
    assert list(record.late_ms) == pytest.approx([0, 0, 0, 200, 100, 0, 0, 0, 0, 0], abs=0.1)
    assert sorted(record.iteration_ms) == pytest.approx([5] * 7 + [105, 205, 305], abs=0.1)
