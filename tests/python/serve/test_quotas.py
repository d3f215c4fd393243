"""Quotas: refused before anything is computed, settled after, over restarts and beside other servers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import pytest

import flyball
from flyball.errors import Unavailable
from flyball.serve import quotas
from flyball.serve.app import create_app
from flyball.serve.batch_worker import BatchWorker
from flyball.serve.failures import Failure
from flyball.serve.quotas import Quotas
from flyball.store import Project, Quota, Request, Store
from tests.python.store.conftest import Clock

from .worlds import QUESTION, World, server_of

T = TypeVar("T")
DAY = 86_400_000
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path()) as loaded:
        yield loaded


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="one", clock=clock) as opened:
        yield opened


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())


async def refused(work: Awaitable[object], name: str) -> Failure:
    with pytest.raises(Failure) as caught:
        await work
    assert (caught.value.status, caught.value.code) == (429, f"quota_{name}")
    assert name in caught.value.message
    assert int(caught.value.headers["retry-after"]) >= 1
    return caught.value


def test_requests_of_a_minute(store: Store, clock: Clock) -> None:
    store.project().quotas.set(Quota(requests_per_minute=2))
    counted = Quotas(store, clock)

    async def work() -> None:
        await counted.admit("default")
        clock.now += 20_000
        await counted.admit("default")
        failure = await refused(counted.admit("default"), "requests_per_minute")
        assert failure.headers["retry-after"] == "40"
        clock.now += 40_000
        await counted.admit("default")
        await refused(counted.admit("default"), "requests_per_minute")

    run(work)


def test_answers_at_once(store: Store, clock: Clock) -> None:
    store.project().quotas.set(Quota(concurrent=2))
    counted = Quotas(store, clock)

    async def work() -> None:
        first, _ = await counted.reserve("default", 1), await counted.reserve("default", 1)
        await refused(counted.reserve("default", 1), "concurrent")
        first.settle(1)
        first.settle(1)  # a second time gives no second place
        await counted.reserve("default", 1)
        await refused(counted.reserve("default", 1), "concurrent")

    run(work)


def test_tokens_of_a_day_are_reserved_and_settled(store: Store, clock: Clock) -> None:
    clock.now = 20_000 * DAY + DAY - 5_000
    store.project().quotas.set(Quota(tokens_per_day=100))
    counted = Quotas(store, clock)

    async def work() -> None:
        first = await counted.reserve("default", 90)
        failure = await refused(counted.reserve("default", 11), "tokens_per_day")
        assert failure.headers["retry-after"] == "5"
        first.settle(30)
        second = await counted.reserve("default", 70)
        await refused(counted.reserve("default", 1), "tokens_per_day")
        clock.now += 5_000  # the next day
        third = await counted.reserve("default", 100)
        second.settle(0)  # of yesterday
        await refused(counted.reserve("default", 1), "tokens_per_day")
        third.settle(99)
        await counted.reserve("default", 1)

    run(work)


def test_projects_are_counted_apart(store: Store, clock: Clock) -> None:
    store.create_project("other")
    store.project().quotas.set(Quota(0, 0, 0))
    counted = Quotas(store, clock)

    async def work() -> None:
        await refused(counted.admit("default"), "requests_per_minute")
        await refused(counted.reserve("default", 1), "concurrent")
        for _ in range(100):
            await counted.admit("other")
            await counted.reserve("other", 1 << 40)

    run(work)


def ended(project: Project, name: str, tokens: int) -> None:
    project.requests.begin(Request(id=name, api="a", model="m", state="running", n_reserved=1000))
    project.requests.finish(name, "done", n_prompt_tokens=tokens, n_generated_tokens=0)


def test_tokens_survive_a_restart(store: Store, clock: Clock) -> None:
    """Those of answers that a crash cut off count with all that they could have had."""
    project = store.project()
    project.quotas.set(Quota(tokens_per_day=2000))
    ended(project, "a", 500)
    project.requests.begin(Request(id="b", api="a", model="m", state="running", n_reserved=1000))
    project.requests.recover()
    clock.now += 1

    async def work() -> None:
        await refused(Quotas(store, clock).reserve("default", 501), "tokens_per_day")
        await Quotas(store, clock).reserve("default", 500)

    run(work)


def test_servers_on_one_store_see_each_other_within_seconds(
    store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("flyball.serve.quotas.time", SimpleNamespace(monotonic=lambda: now))
    store.project().quotas.set(Quota(requests_per_minute=3, tokens_per_day=1000, concurrent=5))
    with Store.open(tmp_path / "store.sqlite", instance="two", clock=clock) as other:
        one = Quotas(store, clock)

        async def work() -> None:
            nonlocal now
            await one.reserve("default", 400)
            ended(other.project(), "theirs", 500)
            await one.reserve("default", 300)  # not seen yet: the stated bound
            now += quotas._OLD_SECONDS
            await refused(one.reserve("default", 1), "tokens_per_day")
            await one.admit("default")
            await one.admit("default")
            await refused(one.admit("default"), "requests_per_minute")  # theirs is the third
            other.project().quotas.set(Quota(concurrent=2))
            now += quotas._OLD_SECONDS
            await refused(one.reserve("default", 1), "concurrent")

        run(work)


def test_a_store_that_does_not_answer(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known holds on; what never was is refused, and says nothing of the store."""
    store.project().quotas.set(Quota(requests_per_minute=1))
    counted, fresh = Quotas(store, clock), Quotas(store, clock)

    def broken(name: str) -> Project:
        raise Unavailable("/secret/place", "is locked")

    async def work() -> None:
        await counted.admit("default")
        monkeypatch.setattr(store, "project", broken)
        monkeypatch.setattr("flyball.serve.quotas.time", SimpleNamespace(monotonic=lambda: 1e9))
        await refused(counted.admit("default"), "requests_per_minute")
        with pytest.raises(Failure) as caught:
            await fresh.admit("default")
        assert caught.value.status == 503
        assert "place" not in caught.value.message

    run(work)


def test_a_store_is_read_once_a_second_however_many_ask(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, project = 0, store.project

    def counting(name: str) -> Project:
        nonlocal n
        n += 1
        return project(name)

    monkeypatch.setattr(store, "project", counting)
    monkeypatch.setattr("flyball.serve.quotas.time", SimpleNamespace(monotonic=lambda: 5.0))
    counted = Quotas(store, clock)

    async def work() -> None:
        await asyncio.gather(*(counted.admit("default") for _ in range(200)))

    run(work)
    assert n == 1


def test_no_request_waits_for_a_store_that_is_read_again(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes by what is known, as long as that is not old."""
    now, answered = 0.0, threading.Event()
    monkeypatch.setattr("flyball.serve.quotas.time", SimpleNamespace(monotonic=lambda: now))
    store.project().quotas.set(Quota(requests_per_minute=1000))
    counted, project = Quotas(store, clock), store.project

    def slow(name: str) -> Project:
        answered.wait(60)
        return project(name)

    async def work() -> None:
        nonlocal now
        await counted.admit("default")
        monkeypatch.setattr(store, "project", slow)
        now += quotas._FRESH_SECONDS
        for _ in range(10):
            await asyncio.wait_for(counted.admit("default"), 30)
        now += quotas._OLD_SECONDS
        waits = asyncio.create_task(counted.admit("default"))
        await asyncio.sleep(0.05)
        assert not waits.done()
        answered.set()
        await asyncio.wait_for(waits, 30)

    run(work)


def test_without_a_store_nothing_is_limited(clock: Clock) -> None:
    counted = Quotas(None, clock)

    async def work() -> None:
        for _ in range(100):
            await counted.admit("default")
            await counted.reserve("default", 1 << 40)

    run(work)


def test_an_answer_is_refused_before_it_is_computed(model: flyball.Model, tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.sqlite", instance="one") as store:
        project = store.create_project("lab")
        server = server_of(model, store)
        world = World(store, create_app(server))
        secret, operator = world.token("lab", role="member"), world.token("default")

        async def work() -> None:
            async with world.client(secret) as client, world.client(operator) as admin:

                async def limit(**limits: int | None) -> None:
                    said = await admin.post("/admin/quota", json={"project": "lab", **limits})
                    assert said.status_code == 200, said.text
                    for account in server.quotas._accounts.values():
                        account.stale_at = account.old_at = 0.0

                await limit(tokens_per_day=4000)
                said = await client.post("/v1/chat/completions", json=QUESTION)
                used = said.json()["usage"]["total_tokens"]
                await asyncio.to_thread(server.records.settle)
                await limit(tokens_per_day=used + 3)
                assert server.observe.total("finished") == 1
                await exceeded(client.post("/v1/chat/completions", json=QUESTION), "tokens_per_day")
                await exceeded(client.post("/v1/embeddings", json={"input": "Four or more tokens."}), "tokens_per_day")
                assert server.observe.total("finished") == 1
                assert server.queue.n_running == server.queue.n_waiting == 0
                await limit(tokens_per_day=None, concurrent=0)
                await exceeded(client.post("/v1/messages", json=QUESTION), "concurrent")
                await limit(concurrent=None, requests_per_minute=0)
                for path in ("/v1/models", "/v1/files", "/v1/memory"):
                    await exceeded(client.get(path), "requests_per_minute")
                await limit(requests_per_minute=None, bytes=10)
                form = {"files": {"file": ("a.jsonl", b"x" * 11)}, "data": {"purpose": "batch"}}
                said = await client.post("/v1/files", **form)  # type: ignore[arg-type]
                assert (said.status_code, said.json()["error"]["code"]) == (413, "quota_bytes")
                said = await client.post("/v1/memory", json={"text": "eleven char"})
                assert said.status_code == 413
                await limit(bytes=None)
                assert (await client.post("/v1/chat/completions", json=QUESTION)).status_code == 200

        world.run(work)
        assert server.quotas._accounts["lab"].n_running == 0
        server.records.close()
        assert list(project.files.all()) == []


async def exceeded(asking: Awaitable[httpx.Response], name: str) -> None:
    said = await asking
    assert said.status_code == 429, said.text
    assert name in said.text
    assert int(said.headers["retry-after"]) >= 1


def test_a_client_that_goes_pays_for_what_it_got(model: flyball.Model, tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.sqlite", instance="one") as store:
        server = server_of(model, store)
        world = World(store, create_app(server))
        secret = world.token("default")
        question: dict[str, Any] = QUESTION | {"max_tokens": 200, "stream": True, "ignore_eos": True}

        async def work() -> None:
            async with world.client(secret) as client:
                asking = asyncio.create_task(client.post("/v1/chat/completions", json=question))
                while server.observe.running == [] or len(server.observe.running[0].times.tokens) < 5:
                    await asyncio.sleep(0.001)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

        world.run(work)
        server.records.close()
        (left,) = store.project().requests.between(0, 1 << 62)
        assert left.state == "canceled"
        assert left.n_generated_tokens is not None
        assert 5 <= left.n_generated_tokens < 200
        assert left.n_reserved is not None
        account = server.quotas._accounts["default"]
        assert (account.n_running, account.tokens) == (0, (left.n_prompt_tokens or 0) + left.n_generated_tokens)


def test_a_batch_waits_for_its_quota_and_keeps_none_of_others_waiting(model: flyball.Model, tmp_path: Path) -> None:
    """No item has failed for it, however often it was refused, and another project's are answered meanwhile."""
    with Store.open(tmp_path / "a.sqlite", instance="one") as store:
        server = server_of(model, store)
        server.batches = BatchWorker(server, poll_seconds=0.02)
        ids = {}
        for name in ("busy", "other"):
            project = store.create_project(name)
            lines = [{"custom_id": str(n), "method": "POST", "url": CHAT, "body": QUESTION} for n in range(4)]
            file = project.files.put("in", "batch", ["\n".join(map(json.dumps, lines)).encode()])
            ids[name] = project.batches.create(CHAT, file.id, 1 << 50).id
        busy, other = store.project("busy"), store.project("other")
        busy.quotas.set(Quota(concurrent=0))

        async def until(project: Project, name: str) -> None:
            while (batch := project.batches.get(ids[name])) is None or batch.state != "completed":
                await asyncio.sleep(0.02)

        async def work() -> None:
            worker = asyncio.create_task(server.batches.run(create_app(server)))
            await asyncio.wait_for(until(other, "other"), 100)
            refused = server.observe.refusals["busy"]
            while server.observe.refusals["busy"] < refused + 5:  # again and again
                await asyncio.sleep(0.02)
            assert {item.state for item in busy.items.of(ids["busy"])} <= {"pending", "claimed"}
            busy.quotas.set(Quota())
            await asyncio.wait_for(until(busy, "busy"), 100)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

        run(work)
        server.records.close()
        assert [item.state for item in busy.items.of(ids["busy"])] == ["completed"] * 4
