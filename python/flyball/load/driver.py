"""The driver: begins iterations when they are due, or when a user is free, and ends what goes on too long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable

from . import process
from .arrivals import due_times, length
from .flows import Failed, Target, Visit, perform
from .plan import Arrivals, Plan, Users
from .record import Record, Run, meets

_BEGIN_S = 0.05  # until the first due time, so that all flows are ready for it
_HEARTBEAT_S, _TELL_S, _LOOK_S = 0.02, 0.5, 1.0

Tell = Callable[[Run], object]


async def run(plan: Plan, url: str, key: str = "", pid: int | None = None, tell: Tell | None = None) -> Run:
    """Run all flows of a plan. `pid`: the server's process, to be watched; `tell` is called twice a second.

    If it is canceled, what was seen so far is returned, as a run that was stopped.
    """
    found = Run(plan, url, tuple(map(Record, plan.flows)))
    clock = asyncio.get_running_loop().time
    start, cpu = clock() + _BEGIN_S, time.process_time()
    helpers = [asyncio.create_task(_heartbeat(found))]
    if pid is not None:
        helpers.append(asyncio.create_task(_watch(found, pid, start)))
    if tell is not None:
        helpers.append(asyncio.create_task(_tell(found, tell)))
    try:
        async with asyncio.TaskGroup() as group:
            for record in found.records:
                target = Target.of(url, key, plan.timeout_s, plan.seed)
                group.create_task(_flow(plan, record, target, start))
    except asyncio.CancelledError:
        found.stopped = True
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
    finally:
        found.seconds, found.cpu_seconds = max(0.0, clock() - start), time.process_time() - cpu
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
    return found


async def at_due_times(dues: Iterable[float], start: float, begin: Callable[[float], object]) -> None:
    """Call `begin` with each due time, when it has come or as soon as possible after it."""
    clock = asyncio.get_running_loop().time
    for due in dues:
        await asyncio.sleep(max(0.0, start + due - clock()))
        begin(start + due)


async def _flow(plan: Plan, record: Record, target: Target, start: float) -> None:
    """One flow, until its load has ended and nothing of it runs any more, or for `grace_s` longer."""
    clock = asyncio.get_running_loop().time
    chance = random.Random(f"{plan.seed} {record.flow.name}")
    running: set[asyncio.Task[None]] = set()
    try:
        async with asyncio.TaskGroup() as group:

            def keep(task: asyncio.Task[None]) -> None:
                running.add(task)
                task.add_done_callback(running.discard)

            load = record.flow.load
            if isinstance(load, Arrivals):

                def begin(due: float) -> None:
                    if record.running >= load.most_running:
                        record.n_dropped += 1
                        return
                    keep(group.create_task(_iterate(record, target, _next(record), due, late=True)))

                await at_due_times(due_times(load, chance), start, begin)
                await asyncio.sleep(max(0.0, start + length(load.stages) - clock()))
            else:
                for _ in range(load.users):
                    keep(group.create_task(_user(record, target, load, start)))
                await _until_ended(running, None if load.seconds is None else start + load.seconds - clock())
            await _until_ended(running, plan.grace_s)
            for task in running:
                task.cancel()
    finally:
        record.seconds = max(0.0, clock() - start)
        record.n_unfinished, record.running = record.n_begun - len(record.iteration_ms), 0
        target.pool.close()


async def _until_ended(tasks: set[asyncio.Task[None]], seconds: float | None) -> None:
    if tasks and (seconds is None or seconds > 0):
        await asyncio.wait(set(tasks), timeout=seconds)


async def _user(record: Record, target: Target, load: Users, start: float) -> None:
    """One user: an iteration after the other."""
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(max(0.0, start - clock()))
    done = 0
    while done < load.iterations if load.iterations is not None else clock() < start + (load.seconds or 0.0):
        await _iterate(record, target, _next(record), clock(), late=False)
        done += 1
        await asyncio.sleep(load.pause_s)


def _next(record: Record) -> int:
    """The iteration's number; it counts as running from now on, so that none above the limit begins."""
    record.n_begun += 1
    record.running += 1
    return record.n_begun


async def _iterate(record: Record, target: Target, number: int, due: float, late: bool) -> None:
    clock = asyncio.get_running_loop().time
    if late:
        record.late_ms.append(1e3 * (clock() - due))
    visit = Visit(target, record, number, due)
    try:
        await perform(visit, record.flow.options)
    except Failed:
        visit.good = False
    record.running -= 1
    _ended(record, visit, 1e3 * (clock() - due))


def _ended(record: Record, visit: Visit, took_ms: float) -> None:
    first = per_token = None
    if (answer := visit.answer) is not None and answer.pieces:
        first = 1e3 * answer.first
        record.first_token_ms.append(first)
        record.n_tokens += answer.n_tokens or len(answer.pieces)
        if answer.per_token is not None:
            per_token = 1e3 * answer.per_token
            record.per_token_ms.append(per_token)
    record.iteration_ms.append(took_ms)
    record.n_good += visit.good and meets(record.flow.goodput, took_ms, first, per_token)


async def _heartbeat(found: Run) -> None:
    """How late this program is by itself, also where no flow has due times."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        due = max(due + _HEARTBEAT_S, clock())
        await asyncio.sleep(due - clock())
        found.lag_ms.append(1e3 * max(0.0, clock() - due))


async def _watch(found: Run, pid: int, start: float) -> None:
    clock = asyncio.get_running_loop().time
    while (seen := await asyncio.to_thread(process.usage, pid, round(clock() - start, 3))) is not None:
        found.usage.append(seen)
        await asyncio.sleep(_LOOK_S)


async def _tell(found: Run, tell: Tell) -> None:
    while True:
        tell(found)
        await asyncio.sleep(_TELL_S)
