"""Routes of several servers that have one store: what must be the same in all is, and what is each one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import flyball
from flyball.errors import OutOfMemory
from flyball.route.breaker import FAILURES
from flyball.route.intents import Intents
from flyball.route.registry import Registry
from flyball.serve.models import Entry, Models
from flyball.serve.records import Records
from flyball.serve.routing import Routing, Wish
from flyball.store import Project, Request, Store
from flyball.store.feedback import Feedback
from tests.python.route.registries import short_registry

from .conftest import Running, Start
from .test_routing import CHAT, DEMO, PAST, route

EXPLORING = "cost = 0.0\nexplore = 1.0\nexplored_share = 0.5"
KEYS = [f"{number:024x}" for number in range(48)]


def rated(project: Project, n: int) -> None:
    """Answers of one model at history, of which every third was bad: the other model is worth a try."""
    for number in range(n):
        id = f"r{number}"
        project.requests.begin(Request(id=id, api="x", model="small", state="running", task="history"))
        project.requests.finish(id, "done", fingerprint="f", digest="d")
        project.tasks.add("history", "small", "f", ok=True, n_generated_tokens=9, ms=9)
        rating = "good" if number % 3 else "bad"
        project.feedback.rate(Feedback(answer_id="", voter=id, request_id=id, rating=rating))


def keyed(key: str) -> Wish:
    return Wish("default", PAST, PAST, repeats=key)


def together(tmp_path: Path, demo: flyball.Model, use: Callable[[Routing, Routing, Store], Awaitable[None]]) -> None:
    """Two servers' routes, each with its own connection to one store."""
    (tmp_path / "routes.toml").write_text(short_registry(0.3, more=EXPLORING))
    url = tmp_path / "store.sqlite"

    def routing(store: Store) -> Routing:
        models = Models([Entry(name, DEMO, lambda: demo) for name in ("small", "big")])
        return Routing(tmp_path / "routes.toml", models, Records(store), None)  # type: ignore[arg-type]

    async def run(one: Store, other: Store) -> None:
        rated(one.project(), 30)
        both = routing(one), routing(other)
        for each in both:
            await each.start()
        await use(*both, one)

    with Store.open(url) as one, Store.open(url) as other:
        asyncio.run(run(one, other))


def test_a_request_explores_on_all_servers_or_on_none(tmp_path: Path, demo: flyball.Model) -> None:
    async def use(one: Routing, other: Routing, store: Store) -> None:
        for _ in range(7):  # what one has answered before says nothing of the next request
            await one.route(Wish("default", PAST, PAST))
        choices = [[(await each.route(keyed(key)))[1].choice for key in KEYS] for each in (one, other)]
        assert choices[0] == choices[1]
        n_explored = sum(choice.explored for choice in choices[0])
        assert len(KEYS) / 4 < n_explored < 3 * len(KEYS) / 4
        assert {choice.model for choice in choices[0]} == {"small", "big"}

    together(tmp_path, demo, use)


def test_what_comes_again_to_another_server_goes_where_it_went(tmp_path: Path, demo: flyball.Model) -> None:
    """Also where that one would choose otherwise, or has left the model alone."""

    async def use(one: Routing, other: Routing, store: Store) -> None:
        project = store.project()
        went = {key: (await one.route(keyed(key)))[1].choice.model for key in KEYS[:12]}
        for key, model in went.items():
            project.requests.begin(Request(id=key, api="x", model=model, state="running", task="history"))
        for model in ("small", "big"):
            for _ in range(FAILURES):
                other.breaker(model, "").ended(False)
        for key, model in went.items():
            choice = (await other.route(keyed(key)))[1].choice
            assert (choice.reason, choice.model, choice.task) == ("ROUTE_REPEATED", model, "history")

    together(tmp_path, demo, use)


def test_a_model_that_fails_on_one_server_is_asked_by_the_other(tmp_path: Path, demo: flyball.Model) -> None:
    async def use(one: Routing, other: Routing, store: Store) -> None:
        for _ in range(FAILURES):
            one.breaker("small", "").ended(False)
        by_one, by_other = [[(await each.route(keyed(key)))[1] for key in KEYS[:12]] for each in (one, other)]
        assert {(each.choice.model, each.choice.left_out["small"]) for each in by_one} == {("big", "health")}
        routed = next(each for each in by_other if each.choice.model == "small")
        for _ in range(FAILURES):
            routed.ended(None, OutOfMemory("answer", "has no room"))
        assert not other.breaker("small", "").lets_through, "its own failures are what it goes by"

    together(tmp_path, demo, use)


def test_a_correction_is_learned_once_for_all_that_wait(
    tmp_path: Path, demo: flyball.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, n = Intents.learn, 0

    def counted(registry: Registry, *rest: Any) -> Intents:
        nonlocal n
        n += 1
        return learn(registry, *rest)

    async def use(one: Routing, other: Routing, store: Store) -> None:
        monkeypatch.setattr(Intents, "learn", counted)
        store.project().route_corrections.put(PAST, "science")
        for each in (one, other):
            routed = await asyncio.gather(*(each.route(Wish("default", PAST, PAST)) for _ in range(20)))
            assert {found.choice.intent for _, found in routed} == {"science"}
        assert n == 2

    together(tmp_path, demo, use)


def test_processes_that_are_asked_at_once_send_a_key_the_same_way(start: Start, tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text(short_registry(0.3, more=EXPLORING))
    store = tmp_path / ".local/state/flyball/serve/store.sqlite"
    store.parent.mkdir(parents=True)
    with Store.open(store) as opened:
        rated(opened.project(), 30)
    words = (f"small={DEMO}", f"big={DEMO}", "--set", "serve.routes=routes.toml", "--ctx", "256")
    servers = [start(*words, home=tmp_path) for _ in range(2)]
    body = {"messages": [{"role": "user", "content": PAST}], "max_tokens": 2}
    models = set()

    def ask(server: Running, key: str) -> httpx.Response:
        with server.client() as client:
            return client.post(CHAT, json=body, headers={"idempotency-key": key})

    with ThreadPoolExecutor(2) as pool:
        for number in range(12):
            said = list(pool.map(ask, servers, [f"key {number}"] * 2))
            assert len({route(each)["model"] for each in said}) == 1
            assert len({each.json()["flyball"]["digest"] for each in said}) == 1
            models.add(route(said[0])["model"])
    assert models == {"small", "big"}
