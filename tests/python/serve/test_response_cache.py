"""Answers that a server gives again: the same ones, to the same project, and to nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import flyball
from flyball.cli import main
from flyball.engine.results import Result
from flyball.errors import InvalidArgument
from flyball.response_cache import Place
from flyball.serve.answering import Answering, Ask
from flyball.serve.models import Entry, Models, Served
from flyball.serve.records import Records
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings
from flyball.store import Store
from tests.python.response_cache.conftest import Redis
from tests.python.response_cache.conftest import redis as redis

from .conftest import WAIT, Running, Start
from .scraping import scrape, value

CHAT = "/v1/chat/completions"
FOREVER = 1 << 53
ON = ("--set", "serve.response_cache=store")
GREEDY = {"temperature": 0, "max_tokens": 6}


def messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


# --- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def url(home: Path) -> Path:
    return home / ".local" / "state" / "flyball" / "serve" / "store.sqlite"


@pytest.fixture(scope="module")
def clients(home: Path, url: Path) -> dict[str, list[dict[str, str]]]:
    """The headers of two clients for each of two projects."""
    with Store.open(url) as store:
        projects = [store.project(), store.create_project("other")]
        return {
            project.name: [{"authorization": f"Bearer {project.keys.create(name).secret}"} for name in ("a", "b")]
            for project in projects
        }


@pytest.fixture(scope="module")
def caching(start: Start, home: Path, clients: dict[str, list[dict[str, str]]]) -> Running:
    """A server that verifies all that it gives again."""
    running = start(*ON, "--set", "serve.response_cache_verify=1", home=home)
    running.headers = clients["default"][0]
    return running


@pytest.fixture
def asking(caching: Running) -> Iterator[httpx.Client]:
    with caching.client() as client:
        yield client


def test_random_questions_of_two_projects(
    asking: httpx.Client, caching: Running, clients: dict[str, list[dict[str, str]]]
) -> None:
    """Of four clients at all interfaces: an answer that is given again is the first one of its project."""
    draw = random.Random(3)
    apis: dict[str, dict[str, Any]] = {
        CHAT: {"messages": messages("What is 2 + 3?")},
        "/v1/completions": {"prompt": "Once"},
        "/completion": {"prompt": "Once", "n_predict": 6},
        "/v1/messages": {"messages": messages("Hello"), "max_tokens": 6},
        "/v1/responses": {"input": "Hello", "max_output_tokens": 6},
        "/api/chat": {"messages": messages("Hello"), "stream": False},
    }
    first: dict[tuple[object, ...], dict[str, Any]] = {}
    n_hits = 0
    for _ in range(240):
        project, path, seed = draw.choice(list(clients)), draw.choice(list(apis)), draw.randrange(2)
        options = {"temperature": 0.8, "seed": seed}
        body = apis[path] | ({"options": options | {"num_predict": 6}} if path == "/api/chat" else GREEDY | options)
        said = asking.post(path, json=body, headers=draw.choice(clients[project]))
        assert said.status_code == 200, said.text
        proof = said.json()["flyball"]
        assert said.headers["flyball-digest"] == proof["digest"]
        # Ollama's and OpenAI's chats ask the same of the model, and so may have one answer.
        known = first.setdefault((project, proof["digest"]), proof)
        if said.headers["flyball-cache"] == "hit":
            assert proof == known | {"cached": True}
            n_hits += 1
        else:
            assert said.headers["flyball-cache"] == "miss"
            assert proof == known
    assert {project for project, _ in first} == set(clients)
    receipts = [proof["receipt"] for proof in first.values()]
    assert len(set(receipts)) == len(first)
    assert n_hits == 240 - len(first)
    end = time.monotonic() + WAIT
    while value(found := scrape(caching), "flyball:verifications_total", receipt="cached", outcome="verified") < 1:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert value(found, "flyball:verifications_total", receipt="cached", outcome="mismatch") == 0
    assert value(found, "flyball:response_cache_hits_total") == n_hits
    assert value(found, "flyball:response_cache_misses_total") == len(first)
    assert value(found, "flyball:response_cache_stored_total") == len(first)
    assert value(found, "flyball:response_cache_bytes") > 0
    assert value(found, "flyball:response_cache_saved_tokens_total") > 0
    assert value(found, "flyball:response_cache_saved_cycles_total") > 0
    for name in ("broken", "errors", "evicted"):
        assert value(found, f"flyball:response_cache_{name}_total") == 0


def test_a_stream_has_the_same_pieces_and_the_first_ones_receipt(
    asking: httpx.Client, clients: dict[str, list[dict[str, str]]], url: Path
) -> None:
    (mine, twin), (other, _) = clients["default"], clients["other"]
    body = {"messages": messages("Tell me a story."), "stream": True, "logprobs": True, "top_logprobs": 2} | GREEDY
    body |= {"max_tokens": 20, "stream_options": {"include_usage": True}}

    def chunks(headers: dict[str, str], how: str) -> list[dict[str, Any]]:
        said = asking.post(CHAT, json=body, headers=headers)
        assert said.headers["flyball-cache"] == how
        return [json.loads(line[6:]) for line in said.text.split("\n") if line.startswith("data: {")]

    first, again = chunks(mine, "miss"), chunks(twin, "hit")
    assert [chunk["choices"] for chunk in again] == [chunk["choices"] for chunk in first]
    assert again[-1]["usage"] == first[-1]["usage"]
    assert again[-1]["timings"]["predicted_ms"] == 0 < first[-1]["timings"]["predicted_ms"]
    assert again[-1]["flyball"] == first[-1]["flyball"] | {"cached": True}
    foreign = chunks(other, "miss")
    assert foreign[-1]["flyball"]["digest"] == first[-1]["flyball"]["digest"]
    identity = first[-1]["flyball"]["receipt"]
    for name in (identity, again[-1]["id"]):
        kept = asking.get(f"/v1/receipts/{name}", headers=twin).json()
        assert (kept["id"], kept["receipt"]["digest"]) == (identity, first[-1]["flyball"]["digest"])
        assert asking.get(f"/v1/receipts/{name}", headers=other).status_code == 404
        assert asking.post("/v1/verify", json={"id": name}, headers=mine).json()["verified"] is True
    end = time.monotonic() + WAIT
    while True:
        with Store.open(url) as store:
            row = store.project().requests.get(again[-1]["id"].removeprefix("chatcmpl-"))
            before = store.project().requests.get(identity)
        if row is not None and row.state == "done":
            break
        assert time.monotonic() < end
    assert before is not None
    assert (row.cached_from, before.cached_from) == (identity, None)
    assert row.digest == before.digest


def test_what_is_not_looked_for(asking: httpx.Client, clients: dict[str, list[dict[str, str]]]) -> None:
    """A random seed, which can never be asked again; and an answer that time may end."""
    mine = clients["default"][0]
    body = {"messages": messages("Hello"), "max_tokens": 6}
    for members in ({"temperature": 0.8}, GREEDY | {"deadline": 60}, {"temperature": 0.8, "seed": -1}):
        for _ in range(2):
            assert asking.post(CHAT, json=body | members, headers=mine).headers["flyball-cache"] == "off"
    for members in (GREEDY, GREEDY | {"logprobs": True}, GREEDY | {"logprobs": True, "top_logprobs": 1}):
        found = [asking.post(CHAT, json=body | members, headers=mine) for _ in range(2)]
        assert [each.headers["flyball-cache"] for each in found][1] == "hit"
        assert found[0].json()["choices"] == found[1].json()["choices"]
    assert "flyball-cache" not in asking.get("/v1/models", headers=mine).headers


def test_a_key_for_repetitions_keeps_its_rules(asking: httpx.Client, clients: dict[str, list[dict[str, str]]]) -> None:
    mine, twin = clients["default"]
    body = {"messages": messages("A key?")} | GREEDY
    first = asking.post(CHAT, json=body, headers=mine | {"idempotency-key": "k"})
    again = asking.post(CHAT, json=body, headers=mine | {"idempotency-key": "k"})
    assert first.json()["id"] == again.json()["id"]
    theirs = asking.post(CHAT, json=body, headers=twin | {"idempotency-key": "k"})
    assert theirs.json()["id"] != first.json()["id"]
    assert theirs.headers["flyball-cache"] == "hit"
    refused = asking.post(CHAT, json=body | {"max_tokens": 7}, headers=twin | {"idempotency-key": "k"})
    assert refused.status_code == 422


def test_purging_and_the_command(
    asking: httpx.Client, clients: dict[str, list[dict[str, str]]], url: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = clients["default"][0], clients["other"][0]
    body = {"messages": messages("Purge me.")} | GREEDY

    def ask(headers: dict[str, str]) -> str:
        return asking.post(CHAT, json=body, headers=headers).headers["flyball-cache"]

    def command(*words: str) -> Any:
        assert main(["cache", "answers", *words, "--json", "--set", f"serve.store={url}"]) == 0
        return json.loads(capsys.readouterr().out)

    assert [ask(mine), ask(other), ask(mine), ask(other)] == ["miss", "miss", "hit", "hit"]
    assert asking.delete("/v1/cache", headers=mine).json()["removed"] >= 1
    assert [ask(mine), ask(other), ask(mine)] == ["miss", "hit", "hit"]
    asking.delete("/v1/cache", headers=mine)
    listed = command("list")
    assert [each["project"] for each in listed] == ["other"]
    model = listed[0]["fingerprint"]
    assert command("purge", "--model", "0" if model[0] != "0" else "1") == [
        {"project": "default", "removed": 0},
        {"project": "other", "removed": 0},
    ]
    assert command("purge", "--adapter", "a", "--project", "other") == [{"project": "other", "removed": 0}]
    assert command("purge", "--model", model[:8].upper(), "--project", "other")[0]["removed"] == listed[0]["n_answers"]
    assert command("list") == []
    assert ask(other) == "miss"
    for words, said in ((["--project", "nobody"], "no project"), (["--model", "x*"], "hexadecimal")):
        assert main(["cache", "answers", "purge", *words, "--set", f"serve.store={url}"]) == 2
        assert said in capsys.readouterr().err


# --- in this process -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


@asynccontextmanager
async def serving(model: flyball.Model, store: Store | None, **settings: Any) -> AsyncIterator[Server]:
    """A server with a cache of answers."""
    served = Served("demo", model)
    entry = Entry("demo", flyball.demo_model_path(), lambda: model, served=served)
    records = Records(store)
    try:
        yield Server(ServeSettings(**{"response_cache": "store"} | settings), Models([entry]), records)
    finally:
        records.close()


def ask_of(server: Server, prompt: str = "Once", project: str = "default", client: str = "me", **options: Any) -> Ask:
    (served,) = server.models
    return Ask(
        served, served.model.tokenize(prompt), 8, {"seed": 5} | options, client, "test", project=project
    )  # fmt: skip


async def answered(server: Server, ask: Ask) -> tuple[Result, str]:
    """The answer, and how it was found. All that it leaves is stored then."""
    answering = Answering(server, ask)
    async with answering:
        result = await answering.whole()
    await asyncio.to_thread(server.records.settle)
    return result, ask.caching[-1]


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(WAIT):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite", instance="one") as opened:
        opened.create_project("other")
        yield opened


def contents(store: Store) -> list[str]:
    """The keys of what the default project has."""
    from flyball.store.schema import cached_answers

    project = store.project()
    scope = project.cached_answers._scope
    with scope.database.reading() as connection:
        return [row.id for row in connection.execute(scope.select(cached_answers))]


def test_equal_questions_of_a_project_are_computed_once(model: flyball.Model, store: Store) -> None:
    async def run() -> None:
        async with serving(model, store, parallel=1) as server:
            asks = [ask_of(server, client=client) for client in ("a", "b", "c")]
            asks += [ask_of(server, project="other", client="a")]
            tasks = [asyncio.create_task(answered(server, ask)) for ask in asks]
            while len(server.flights.flying) < 2:
                await asyncio.sleep(0)
            assert len(server.flights.flying) == 2  # one of each project
            urgent = replace(ask_of(server), priority=1)
            behind = Answering(server, ask_of(server, "Other"))
            results = [await task for task in tasks]
            assert len({result.digest for result, _ in results}) == 1
            assert [how for _, how in results] == ["miss"] * 4
            assert (await answered(server, urgent))[1] == "hit"
            assert behind.known is None
            assert server.flights.flying == []
            # Where it may not be kept, a client has an answer of its own.
            canary = [replace(ask_of(server, "Canary", client=client), cacheable=False) for client in ("a", "b")]
            tasks = [asyncio.create_task(answered(server, ask)) for ask in canary]
            while len(server.flights.flying) < 2:
                await asyncio.sleep(0)
            assert [(await task)[1] for task in tasks] == ["off", "off"]
            assert server.responses.counts["stored"] == 2

    asyncio.run(run())


def test_what_comes_first_does_not_wait_behind_its_twin(model: flyball.Model, store: Store) -> None:
    async def run() -> None:
        async with serving(model, store, parallel=1) as server:
            busy = Answering(server, replace(ask_of(server, "Busy", ignore_eos=True), max_tokens=300))
            async with busy:
                late = asyncio.create_task(answered(server, replace(ask_of(server), priority=-101)))
                while server.queue.n_waiting < 1:
                    await asyncio.sleep(0)
                soon = asyncio.create_task(answered(server, ask_of(server)))
                while server.queue.n_waiting < 2:
                    await asyncio.sleep(0)
            assert (await soon)[0].digest == (await late)[0].digest
            assert server.flights.flying == []

    asyncio.run(run())


def test_an_answer_that_time_or_a_person_ended_is_not_kept(model: flyball.Model, store: Store) -> None:
    async def run() -> None:
        async with serving(model, store) as server:
            cut = replace(ask_of(server, ignore_eos=True), deadline=1e-3, max_tokens=400)
            assert (await answered(server, cut))[1] == "off"
            left = replace(ask_of(server, ignore_eos=True), max_tokens=400)
            async with Answering(server, left) as answering:
                await anext(aiter(answering))
            await asyncio.to_thread(server.records.settle)
            assert contents(store) == []
            assert server.responses.counts["stored"] == 0
            whole = replace(ask_of(server, ignore_eos=True), max_tokens=400)
            assert (await answered(server, whole))[1] == "miss"
            assert len(contents(store)) == 1

    asyncio.run(run())


def test_damaged_rows_are_misses_and_go(model: flyball.Model, store: Store) -> None:
    async def run() -> None:
        async with serving(model, store) as server:
            first, _ = await answered(server, ask_of(server))
            (key,) = contents(store)
            rows = store.project().cached_answers
            raw = rows.get(key)
            assert raw is not None
            body = b'{"version":1,"pieces":' + b"[" * 50_000
            hostile = [raw[:-1], b"{}", hashlib.sha256(body).hexdigest().encode() + b"\n" + body]
            for number, content in enumerate(hostile, 1):
                rows.put(key, content, fingerprint="f", expires=FOREVER)
                result, how = await answered(server, ask_of(server))
                assert (result.digest, how) == (first.digest, "miss")
                assert server.responses.counts["broken"] == number
                assert rows.get(key) not in (None, content)
            other = ask_of(server, project="other")  # what one project has is no answer of another's
            await answered(server, other)
            theirs = store.project("other").cached_answers
            theirs.put(key, raw, fingerprint="f", expires=FOREVER)
            assert (await answered(server, ask_of(server, project="other")))[1] == "miss"

    asyncio.run(run())


def test_a_forged_answer_is_found_in_idle_time(
    model: flyball.Model, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody who can write the store: right in its form, and not what the model computes."""

    async def run() -> None:
        async with serving(model, store, response_cache_verify=1.0) as server:
            first, _ = await answered(server, ask_of(server))
            (key,) = contents(store)
            rows = store.project().cached_answers
            found = json.loads((rows.get(key) or b"").partition(b"\n")[2])
            receipt = json.loads(found["receipt"])
            forged = receipt["tokens"][0] ^ 1
            receipt["tokens"][0] = found["pieces"][0][0] = forged
            body = json.dumps(found | {"receipt": json.dumps(receipt)}).encode()
            rows.put(key, hashlib.sha256(body).hexdigest().encode() + b"\n" + body, fingerprint="f", expires=FOREVER)
            result, how = await answered(server, ask_of(server))
            assert (result.tokens[0], how) == (forged, "hit")
            told: list[tuple[str, Any]] = []
            monkeypatch.setattr(server.records, "tell", lambda *what: told.append(what))
            running = asyncio.create_task(server.responses.run())
            with pytest.warns(RuntimeWarning, match="not what the model computes"):
                await until(lambda: server.observe.verifications["cached", "mismatch"])
            await asyncio.to_thread(server.records.settle)
            ((reason, data),) = told
            assert (reason, data["key"]) == ("AUDIT_CACHE_MISMATCH", key)
            result, how = await answered(server, ask_of(server))
            assert (result.digest, how) == (first.digest, "miss")
            result, how = await answered(server, ask_of(server))
            assert (result.digest, how) == (first.digest, "hit")
            await until(lambda: server.observe.verifications["cached", "verified"])
            running.cancel()

    asyncio.run(run())


def test_answers_outlive_the_server_and_their_receipts(model: flyball.Model, store: Store) -> None:
    async def run() -> None:
        async with serving(model, store) as server:
            first = ask_of(server)
            result, _ = await answered(server, first)
        receipts = store.project().receipts
        stored = receipts.get(first.id)
        assert stored is not None
        assert stored.expires is not None
        store._clock = store.project().receipts._scope.clock
        async with serving(model, store) as server:
            again = ask_of(server)
            assert await answered(server, again) != (result, "miss")
            kept = receipts.get(first.id)
            assert kept is not None
            assert kept.expires is not None
            assert kept.expires >= stored.expires
            assert server.records.get(again.id, "default").id == first.id
        async with serving(model, store) as server:  # which has it in no memory
            assert server.records.get(again.id, "default").receipt.result().digest == result.digest
            counts = store.project().performance.between(*_days())
            assert [day.n_answers for day in counts] == [1]  # the model has computed one

    asyncio.run(run())


def _days() -> Any:
    import datetime

    today = datetime.datetime.now(datetime.UTC).date()
    return today - datetime.timedelta(days=1), today + datetime.timedelta(days=2)


def test_redis_is_killed_in_the_middle(model: flyball.Model, store: Store, redis: Redis) -> None:
    """Nobody's answer fails; it is told once, and counted; when it is there again, answers are kept again."""

    async def run() -> None:
        async with serving(model, store, response_cache=redis.url) as server:
            answers: Any = server.responses.answers
            first, _ = await answered(server, ask_of(server))
            assert (await answered(server, ask_of(server)))[1] == "hit"
            assert contents(store) == []
            redis.kill()
            with pytest.warns(RuntimeWarning, match="are computed") as told:
                found = [await answered(server, ask_of(server)) for _ in range(3)]
            assert [(result.digest, how) for result, how in found] == [(first.digest, "miss")] * 3
            assert len(told) == 1
            assert server.responses.counts["errors"] >= 3
            redis.start()
            answers._paused_until = 0.0
            assert [(await answered(server, ask_of(server)))[1] for _ in range(2)] == ["miss", "hit"]
            assert await server.responses.purge("other") == 0
            assert await server.responses.purge("default") == 1
            place = Place("default", model.info.fingerprint, "", "0" * 64)
            answers.put(place, b"x" * 1000)
            assert (await answered(server, ask_of(server)))[1] == "miss"
            answers.close()

    asyncio.run(run())


def test_a_cache_needs_its_place(model: flyball.Model) -> None:
    async def run() -> None:
        async with serving(model, None):
            pass

    with pytest.raises(InvalidArgument, match=r"set serve\.store"):
        asyncio.run(run())
