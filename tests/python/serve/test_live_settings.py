"""Settings of a running server: what changes does so at once and whole, and what does not says why."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.config.configuration import defaults
from flyball.serve import live_keys
from flyball.store import Store
from tests.python.route.registries import short_registry

from .live_places import CHAT, CONFIG, QUESTION, Place, run, running, until

CHANGEABLE = {key for key in defaults() if live_keys.rule_of(key).is_changeable}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="one") as opened:
        yield opened


# --- which keys change ---------------------------------------------------------------------------------------------


def covers(rule: str, key: str) -> bool:
    return key.startswith(rule) if rule.endswith(".") else key == rule


def test_every_key_says_whether_it_changes() -> None:
    assert [key for key in defaults() if live_keys.declared(key) is None] == []
    of_nothing = [rule for rule in live_keys._RULES if not any(covers(rule, key) for key in defaults())]
    assert of_nothing == [], "of a key that is no more"
    for key in defaults():
        rule = live_keys.rule_of(key)
        assert rule.why or rule.applies == "live", key
    assert not live_keys.rule_of("serve.new").is_changeable


def test_what_does_not_change_says_why(store: Store) -> None:
    async def work() -> None:
        async with running(store) as place:
            for key, setting in defaults().items():
                if key in CHANGEABLE:
                    continue
                headers = place.etag
                said = await place.client.patch(CONFIG, json={"settings": {key: setting.value}}, headers=headers)
                error = said.json()["error"]
                assert (said.status_code, error["code"], error["param"]) == (409, "not_live", key)
                assert live_keys.rule_of(key).why in error["message"]
            assert place.server.live.revision.number == 0
            assert [act.act for act in store.project().log.all() if act.act != "token.create"] == []

    run(work)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("redis://user:pass@host/0", "redis://user:***@host/0"),
        ("postgresql://u:p%40@h/d?sslpassword=x&a=1", "postgresql://u:***@h/d?sslpassword=***&a=1"),
        ("postgresql://u@/d?host=/run&password=secret", "postgresql://u@/d?host=/run&password=***"),
        ("/a/b:c@d", "/a/b:c@d"),
        (3, 3),
    ],
)
def test_passwords_are_not_shown(value: object, said: object) -> None:
    assert live_keys.shown(value) == said


# --- each key has its effect -----------------------------------------------------------------------------------------


async def _parallel(place: Place) -> None:
    """Of four answers at once, one runs, one waits, and two are refused."""
    assert {(await each).status_code for each in [asyncio.create_task(place.ask()) for _ in range(4)]} == {200}
    await place.set(serve__parallel=1, serve__waiting=1)
    asked = [asyncio.create_task(place.ask(max_tokens=60, ignore_eos=True, seed=n)) for n in range(4)]
    assert sorted([(await each).status_code for each in asked]) == [200, 200, 429, 429]


async def _waiting_tokens(place: Place) -> None:
    await place.set(serve__parallel=1, serve__waiting_tokens=1)
    asked = [asyncio.create_task(place.ask(max_tokens=60, ignore_eos=True, seed=n)) for n in range(4)]
    assert 429 in [(await each).status_code for each in asked]


async def _cache_mb(place: Place) -> None:
    assert (await place.ask(max_tokens=400)).status_code == 200
    await place.set(serve__cache_mb=1)
    said = await place.ask(max_tokens=400, seed=2)
    assert (said.status_code, said.json()["error"]["param"]) == (400, "max_tokens")


async def _body_kb(place: Place) -> None:
    long = [{"role": "user", "content": "x " * 1000}]
    assert (await place.ask(messages=long)).status_code != 413
    await place.set(serve__body_kb=1)
    assert (await place.ask(messages=long)).status_code == 413


async def _origins(place: Place) -> None:
    page = {"origin": "https://page.example"}
    assert (await place.client.get("/v1/models", headers=page)).status_code == 403
    await place.set(serve__allowed_origins="https://other.example https://page.example")
    said = await place.client.get("/v1/models", headers=page)
    assert (said.status_code, said.headers["access-control-allow-origin"]) == (200, "https://page.example")


async def _hosts(place: Place) -> None:
    named = {"host": "models.example"}
    assert (await place.client.get("/v1/models", headers=named)).status_code == 403
    await place.set(serve__allowed_hosts="Models.Example")
    assert (await place.client.get("/v1/models", headers=named)).status_code == 200
    await place.set(serve__allowed_hosts=None)
    assert (await place.client.get("/v1/models", headers=named)).status_code == 403


async def _answers(place: Place) -> None:
    await place.set(max_tokens=3)
    said = await place.client.post("/completion", json={"prompt": "Once", "ignore_eos": True})
    assert said.json()["tokens_predicted"] == 3
    unseeded = {key: value for key, value in QUESTION.items() if key != "seed"}
    keys = {key: setting.value for key, setting in defaults().items() if key.startswith("sampling.")}
    await place.set(**{key.replace(".", "__"): value for key, value in keys.items()} | {"sampling__temperature": 0})
    answers = [(await place.client.post(CHAT, json=unseeded)).json() for _ in range(3)]
    assert len({each["choices"][0]["message"]["content"] for each in answers}) == 1
    assert place.server.settings.sampling["seed"] == 0
    await place.set(sampling__seed=None)
    assert "seed" not in place.server.settings.sampling, "what nobody has set is random"


async def _governor(place: Place) -> None:
    """Models that are loaded, and those that are later; a model that runs keeps what it has."""
    slow = asyncio.create_task(place.ask(max_tokens=200, ignore_eos=True))
    await until(lambda: place.server.queue.n_running == 1)
    await place.set(guard__mode="on", guard__turn_ms=1, autotune__high_percent=151)
    assert (await slow).json()["usage"]["completion_tokens"] == 200
    for name in ("demo", "spare"):
        said = await place.ask(model=name, max_tokens=200, ignore_eos=True, seed=2)
        assert said.json()["usage"]["completion_tokens"] < 200, name
    await place.set(guard__mode=None)
    assert (await place.ask(max_tokens=40, ignore_eos=True, seed=3)).json()["usage"]["completion_tokens"] == 40
    assert (await place.set(400, autotune__high_percent=120, autotune__low_percent=130))["error"]["message"]


async def _adapters(place: Place) -> None:
    assert "no adapter" in (await place.ask(adapter="ada")).text
    await place.set(serve__adapters="off", serve__canary="off")
    assert "no registry" in (await place.ask(adapter="ada")).text
    assert place.server.adapters.canaries.how == "off"


async def _receipts(place: Place) -> None:
    await place.set(serve__receipt_hours=0)
    answer = (await place.ask()).json()["id"].rpartition("-")[2]
    await asyncio.to_thread(place.server.records.settle)
    assert place.opened.project().requests.get(answer) is not None
    assert place.opened.project().receipts.get(answer) is None


async def _response_cache(place: Place) -> None:
    await place.set(serve__response_cache_hours=2, serve__response_cache_mb=1, serve__response_cache_verify=1)
    for _ in range(2):
        await place.ask()
        await asyncio.to_thread(place.server.records.settle)
    await until(lambda: place.server.observe.verifications["cached", "verified"] == 1)
    answers: Any = place.server.responses.answers
    assert (answers._kept_ms, answers._most_bytes) == (7_200_000, 1 << 20)


async def _memory(place: Place) -> None:
    assert "flyball-memory" not in (await place.ask()).headers
    await place.set(serve__memory="on", memory__learn="on", memory__tokens=100, memory__examples=1)
    fact = [{"role": "user", "content": "My name is Ada."}]
    await place.ask(messages=fact)
    assert (await place.ask(messages=[{"role": "user", "content": "What is my name?"}])).headers["flyball-memory"]
    said = await place.client.patch(
        CONFIG, json={"settings": {"memory.embedding": "/nowhere/model.gguf"}}, headers=place.etag
    )
    assert said.status_code == 404, said.text
    await place.set(memory__embedding=str(flyball.demo_model_path()))
    assert place.server.remembering.embedder is not None
    assert (await place.ask(messages=fact)).status_code == 200
    await place.set(memory__embedding=None)
    assert place.server.remembering.embedder is None


async def _memory_of_models(place: Place) -> None:
    """What is loaded beyond the memory goes, but for what shall stay."""
    await place.server.models.get("spare")
    await place.set(serve__memory_mb=1)
    await until(lambda: [each.name for each in place.server.models] == ["demo"])
    said = await place.ask(model="spare")
    assert (said.status_code, said.json()["error"]["code"]) == (400, "out_of_memory")
    await place.set(serve__memory_mb=None, serve__keep_alive=0)
    assert (await place.ask(model="spare")).status_code == 200
    await until(lambda: [each.name for each in place.server.models] == ["demo"])
    assert math.isinf(place.server.models.find("demo").keep_alive)


async def _routes(place: Place) -> None:
    path = Path(place.opened.where).with_name("routes.toml")
    path.write_text("[intents.broken")
    assert (await place.set(400, serve__routes=str(path)))["error"]["message"]
    assert place.server.routing is None
    path.write_text(short_registry().replace('["small", "big"]', '["spare", "demo"]'))
    await place.set(serve__routes=str(path))
    said = await place.client.post(CHAT, json=QUESTION | {"model": "auto", "max_tokens": 2})
    assert "model=" in said.headers["flyball-route"]
    await place.set(serve__routes=None)
    assert (await place.client.post(CHAT, json=QUESTION | {"model": "auto", "max_tokens": 2})).status_code == 404


async def _end(place: Place) -> None:
    await place.set(serve__stall_seconds=7, serve__drain_seconds=0)
    limits = (await place.client.get("/v1/status")).json()["limits"]
    assert [each["limit"] for each in limits if each["name"] == "stall_seconds"] == [7]
    assert place.server.settings.drain_seconds == 0


EFFECTS: dict[Callable[[Place], Awaitable[None]], tuple[str, ...]] = {
    _parallel: ("serve.parallel", "serve.waiting"),
    _waiting_tokens: ("serve.waiting_tokens",),
    _cache_mb: ("serve.cache_mb",),
    _body_kb: ("serve.body_kb",),
    _origins: ("serve.allowed_origins",),
    _hosts: ("serve.allowed_hosts",),
    _answers: ("max_tokens", "sampling."),
    _governor: ("guard.", "autotune."),
    _adapters: ("serve.adapters", "serve.canary"),
    _receipts: ("serve.receipt_hours",),
    _response_cache: ("serve.response_cache_hours", "serve.response_cache_mb", "serve.response_cache_verify"),
    _memory: ("serve.memory", "memory."),
    _memory_of_models: ("serve.memory_mb", "serve.keep_alive"),
    _routes: ("serve.routes",),
    _end: ("serve.stall_seconds", "serve.drain_seconds"),
}


def test_each_key_that_changes_is_tried() -> None:
    tried = [rule for rules in EFFECTS.values() for rule in rules]
    assert {key for key in CHANGEABLE if not any(covers(rule, key) for rule in tried)} == set()


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda each: each.__name__)
def test_what_changes_does(store: Store, effect: Callable[[Place], Awaitable[None]]) -> None:
    async def work() -> None:
        async with running(store, serve__response_cache="store") as place:
            await effect(place)

    run(work)
