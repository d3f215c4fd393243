"""Who runs, who waits, who is refused; and that what nobody waits for is not computed."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

import flyball
from flyball.serve.answering import Answering, Ask
from flyball.serve.failures import Failure
from flyball.serve.models import Entry, Models, Served
from flyball.serve.queue import Queue, Ticket
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings

from .conftest import Start

QUESTION = {"messages": [{"role": "user", "content": "Tell me a story."}], "seed": 1}


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


@pytest.fixture
def served(model: flyball.Model) -> Iterator[Served]:
    yield Served("demo", model)
    gc.collect()


def make_server(served: Served, **settings: Any) -> Server:
    sampling = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05}
    entry = Entry(served.name, flyball.demo_model_path(), lambda: served.model, served=served)
    return Server(ServeSettings(sampling=sampling, **settings), Models([entry]))


def ask_of(served: Served, text: str = "Once upon a time", n: int = 400, **how: Any) -> Ask:
    options = {"seed": 1, "ignore_eos": True} | how.pop("options", {})
    return Ask(served, served.model.tokenize(text), n, options, how.pop("client", "me"), "test", **how)


def until(what: Coroutine[Any, Any, Any]) -> Any:
    """Run it, for at most the time that neighbors may take."""

    async def bounded() -> Any:
        async with asyncio.timeout(120):
            return await what

    return asyncio.run(bounded())


# --- the queue alone -----------------------------------------------------------------------------------------------


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Line:
    """A queue whose tickets run until they are told to end."""

    def __init__(self, **how: int) -> None:
        limits = {"parallel": 1, "waiting": 100, "waiting_tokens": 1000, "cache_bytes": 100} | how
        self.queue = Queue(**limits)
        self.begun: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def add(self, name: str, **how: Any) -> None:
        end = self._ends[name] = asyncio.Event()

        async def run() -> None:
            async with self.queue.turn(Ticket(how.pop("client", name), **how)):
                self.begun.append(name)
                await end.wait()

        self.tasks[name] = asyncio.create_task(run())
        await settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await settle()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self.tasks[name]
        await settle()

    def is_empty(self) -> bool:
        queue = self.queue
        return (queue.n_running, queue.n_waiting, queue.waiting_tokens, queue.cache_bytes) == (0, 0, 0, 0)


def test_clients_take_turns() -> None:
    async def run() -> list[str]:
        line = Line()
        for name in ("a1", "a2", "a3", "b1", "b2"):
            await line.add(name, client=name[0])
        for _ in range(5):
            await line.end(line.begun[-1])
        assert line.is_empty()
        return line.begun

    assert until(run()) == ["a1", "b1", "a2", "b2", "a3"]


def test_higher_priorities_go_first() -> None:
    async def run() -> list[str]:
        line = Line()
        for name, priority in (("first", 0), ("low", -1), ("high", 5), ("normal", 0)):
            await line.add(name, priority=priority)
        for _ in range(4):
            await line.end(line.begun[-1])
        return line.begun

    assert until(run()) == ["first", "high", "normal", "low"]


def test_cache_bytes_are_held_before_they_are_used() -> None:
    async def run() -> None:
        line = Line(parallel=10)
        await line.add("half", cache_bytes=60)
        await line.add("large", cache_bytes=50)
        await line.add("small", cache_bytes=10)
        assert line.begun == ["half"]  # nobody overtakes, or the large one would wait forever
        await line.end("half")
        assert line.begun == ["half", "large", "small"]
        with pytest.raises(Failure) as caught:
            async with line.queue.turn(Ticket("x", cache_bytes=101)):
                pass
        assert caught.value.status == 400

    until(run())


def test_the_oldest_age_is_that_of_requests_that_wait() -> None:
    async def run() -> None:
        line, now = Line(), time.monotonic()
        assert line.queue.oldest_age() == 0
        for name, age in (("runs", 900.0), ("older", 60.0), ("newer", 5.0)):
            await line.add(name, client=name, since=now - age)
        assert 60 <= line.queue.oldest_age() < 90
        await line.cancel("older")
        assert 5 <= line.queue.oldest_age() < 35
        for name in ("runs", "newer"):
            await line.end(name)
        assert line.queue.oldest_age() == 0

    until(run())


@pytest.mark.parametrize(("limits", "ticket"), [({"waiting": 2}, {}), ({"waiting_tokens": 20}, {"tokens": 10})])
def test_too_many_are_refused_at_once(limits: dict[str, int], ticket: dict[str, int]) -> None:
    async def run() -> Failure:
        line = Line(**limits)
        for name in ("runs", "waits", "waits too"):
            await line.add(name, **ticket)
        with pytest.raises(Failure) as caught:
            async with line.queue.turn(Ticket("late", tokens=ticket.get("tokens", 0))):
                pass
        for name in list(line.tasks):
            await line.end(name)
        assert line.is_empty()
        return caught.value

    failure = until(run())
    assert failure.status == 429
    assert int(failure.headers["retry-after"]) > 0


def test_leaving_the_queue_at_any_time_gives_everything_back() -> None:
    async def run(seed: int) -> None:
        chance = random.Random(seed)
        line = Line(parallel=chance.randint(1, 3))
        alive: list[str] = []
        for i in range(60):
            if alive and chance.random() < 0.45:
                name = alive.pop(chance.randrange(len(alive)))
                if name in line.begun and chance.random() < 0.5:
                    await line.end(name)
                else:
                    await line.cancel(name)
            else:
                how = {"tokens": 3, "cache_bytes": chance.randint(1, 60), "priority": chance.randint(0, 1)}
                await line.add(f"{i}", client=chance.choice("abc"), **how)
                alive.append(f"{i}")
        for name in alive:
            await line.cancel(name)
        assert line.is_empty()

    for seed in range(50):
        until(run(seed))


def test_a_canceled_ticket_whose_turn_comes_at_that_moment() -> None:
    async def run() -> None:
        line = Line()
        await line.add("runs")
        await line.add("waits")
        await line.add("last")
        line.tasks["waits"].cancel()  # its task has not run yet when its turn comes
        await line.end("runs")
        await settle()
        assert line.begun == ["runs", "last"]
        await line.end("last")
        assert line.is_empty()

    until(run())


# --- answers -------------------------------------------------------------------------------------------------------


async def idle(server: Server) -> None:
    """Wait until the engine computes nothing."""
    while server.queue.n_running or any(served.model.working_since is not None for served in server.models):
        await asyncio.sleep(0.01)


def test_leaving_an_answer_ends_its_computation(served: Served) -> None:
    async def run() -> None:
        server = make_server(served)
        async with Answering(server, ask_of(served)) as answer:
            async for _ in answer:
                break
        await idle(server)
        assert server.observe.total("canceled") == 1
        assert server.observe.total("finished") == 0

    until(run())


def test_leaving_the_queue_begins_no_computation(served: Served) -> None:
    async def run() -> None:
        server = make_server(served, parallel=1)
        async with Answering(server, ask_of(served)) as first:
            parts = aiter(first)
            await anext(parts)

            async def waiting() -> None:
                async with Answering(server, ask_of(served, "Another")):
                    raise AssertionError("its turn came")

            task = asyncio.create_task(waiting())
            while not server.queue.n_waiting:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert server.queue.n_waiting == 0
        await idle(server)

    until(run())


def test_others_leaving_never_changes_an_answer(served: Served) -> None:
    """Under load: of 40 answers those at odd places are left after some tokens; the others are as if alone."""
    expected = {
        text: served.model.generate(text, 40, seed=1, ignore_eos=True).digest for text in ("Once", "The fox", "Lily")
    }

    async def one(server: Server, number: int) -> str | None:
        text = list(expected)[number % 3]
        async with Answering(server, ask_of(served, text, 40)) as answer:
            n = 0
            async for _ in answer:
                n += 1
                if number % 2 and n > number % 7:
                    return None
            assert answer.result.digest == expected[text]
            return text

    async def run() -> None:
        server = make_server(served, parallel=8)
        got = await asyncio.gather(*(one(server, number) for number in range(40)))
        assert sum(each is not None for each in got) == 20
        await idle(server)
        assert server.queue.cache_bytes == 0

    until(run())


def test_deadline_counts_the_time_in_the_queue(served: Served) -> None:
    async def run() -> None:
        server = make_server(served, parallel=1)
        async with Answering(server, ask_of(served)) as first:
            await anext(aiter(first))
            with pytest.raises(Failure) as caught:
                async with Answering(server, ask_of(served, deadline=0.05)):
                    pass
            assert (caught.value.status, caught.value.code) == (503, "deadline")

    until(run())


def test_cut_answers_fail_and_waiting_ones_too(served: Served) -> None:
    async def run() -> None:
        server = make_server(served, parallel=1)

        async def take(text: str = "Once") -> None:
            async with Answering(server, ask_of(served, text)) as answer:
                await answer.whole()

        tasks = [asyncio.create_task(take(text)) for text in ("One", "Two", "Three")]
        while not server.queue.n_running:
            await asyncio.sleep(0)
        server.cut()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert [Failure.of(error).status for error in got if isinstance(error, Exception)] == [503] * 3
        with pytest.raises(Failure, match="ending"):
            await take()
        await idle(server)

    until(run())


# --- over HTTP -----------------------------------------------------------------------------------------------------


def test_busy_server_says_when_to_come_again(start: Start) -> None:
    server = start("--set", "serve.parallel=1", "--set", "serve.waiting=0")

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
            bodies = [QUESTION | {"ignore_eos": True, "seed": seed} for seed in range(20)]
            return await asyncio.gather(*(client.post("/v1/chat/completions", json=body) for body in bodies))

    said = until(run())
    refused = [each for each in said if each.status_code == 429]
    assert 1 <= len(refused) <= 19
    assert all(each.headers["retry-after"] and each.json()["error"]["code"] == "busy" for each in refused)
    assert {each.status_code for each in said} == {200, 429}


def test_drain_loses_no_stream(start: Start) -> None:
    """50 streams run when the server is told to end: all get their whole answer, new ones are refused, exit code 0."""
    server = start("--set", "serve.drain_seconds=240")
    begun = threading.Barrier(51)
    texts: list[str] = []
    lock = threading.Lock()

    def take(number: int) -> None:
        with server.client() as client:
            body = QUESTION | {"stream": True, "ignore_eos": True, "max_tokens": 300, "seed": number}
            with client.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                first = next(lines)
                begun.wait(120)
                rest = [first, *lines]
        with lock:
            texts.append("\n".join(rest))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    begun.wait(120)
    server.process.send_signal(signal.SIGTERM)
    with suppress(httpx.TransportError):  # it may have ended already
        refused = server.post("/v1/chat/completions", QUESTION)
        assert refused.status_code == 503
        assert refused.headers["x-should-retry"] == "true"
    for thread in threads:
        thread.join(240)
    assert server.process.wait(120) == 0
    assert len(texts) == 50
    assert all(text.rstrip().endswith("data: [DONE]") for text in texts)
    assert not [text for text in texts if '"error"' in text]


def test_drain_that_takes_too_long_tells_its_streams(start: Start) -> None:
    server = start("--set", "serve.drain_seconds=0")
    with server.client() as client:
        body = QUESTION | {"stream": True, "ignore_eos": True, "n": 64}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = list(lines)
    assert server.process.wait(120) == 0
    events = [line for line in rest if line.startswith("data: ")]
    assert '"error"' in events[-1]
    assert '"code":"draining"' in events[-1]
