"""What waits for a replica hears once that it is lost, and nobody else's cancellation is taken for that."""

from __future__ import annotations

import asyncio

import pytest

from flyball.scale.replicas import Doing, Lost


async def _lost(n_times: int, then_cancel: bool = False) -> None:
    doing = Doing()
    task = asyncio.ensure_future(doing.wait(asyncio.sleep(100)))
    await asyncio.sleep(0)
    for _ in range(n_times):
        doing.lost()
    if then_cancel:
        task.cancel()
    await task


@pytest.mark.parametrize("n_times", [1, 2, 5])
def test_however_often_it_is_said(n_times: int) -> None:
    with pytest.raises(Lost):
        asyncio.run(_lost(n_times))


def test_who_is_canceled_as_well_ends() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_lost(1, then_cancel=True))


def test_before_it_waits() -> None:
    async def run() -> None:
        doing = Doing()
        doing.lost()
        await doing.wait(asyncio.sleep(0))

    with pytest.raises(Lost):
        asyncio.run(run())


def test_what_is_done_meanwhile_is_lost_or_there() -> None:
    """The result and the loss come in one turn of the loop: no cancellation is left for later."""

    async def run() -> None:
        doing = Doing()
        ready = asyncio.Event()
        task = asyncio.ensure_future(doing.wait(ready.wait()))
        await asyncio.sleep(0)
        ready.set()
        doing.lost()
        done = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(done[0], Lost)
        await asyncio.sleep(0)

    asyncio.run(run())
