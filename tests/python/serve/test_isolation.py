"""No endpoint tells or changes what is another project's: requests made from the server's own description.

For each operation: no token, bad, expired and revoked ones, one without the scope, and ids of others wherever a request
can name something. Status and body are those of an id that nobody has, and no row of the other project changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import flyball
from flyball.serve import openapi
from flyball.serve.app import _APIS
from flyball.serve.observing import Decided
from flyball.serve.permissions import ANY, OPEN
from flyball.store import Store
from flyball.store.roles import SCOPES
from tests.python.store.conftest import Postgres, postgres  # noqa: F401 - the fixture
from tests.python.store.test_projects import rows

from .worlds import MARK, QUESTION, World, world_of

DOCUMENT = openapi.document([route for api in _APIS for route in api.routes])
OPERATIONS = [
    (method.upper(), path, operation) for path, each in DOCUMENT["paths"].items() for method, operation in each.items()
]
OF_PROJECTS = {  # whose id is in a path
    "/v1/files/{id}": "file",
    "/v1/files/{id}/content": "file",
    "/v1/batches/{id}": "batch",
    "/v1/batches/{id}/cancel": "batch",
    "/v1/receipts/{id}": "answer",
    "/v1/examples/{id}": "example",
    "/v1/memory/{id}": "memory",
    "/admin/tokens/{id}": "token",
}
OF_NOBODY = {"/page/{name}", "/v1/models/{name}", "/models/{name}", "/slots/{slot}", "/api/blobs/{digest}"}
THEIRS = 3  # the number of the project


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path()) as loaded:
        yield loaded


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: flyball.Model
) -> Iterator[World]:
    if request.param == "sqlite":
        url: str | Path = tmp_path_factory.mktemp("store") / "store.sqlite"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    with Store.open(url, instance="one") as store:
        made = world_of(model, store)
        yield made
        made.app.state.server.records.close()


def instance(schema: dict[str, Any]) -> Any:
    """The smallest value of a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return instance(schema["anyOf"][0])
    kind = schema.get("type")
    kind = str(kind[0] if isinstance(kind, list) else kind)
    if kind == "object":
        return {name: instance(schema["properties"][name]) for name in schema.get("required", ())}
    if kind == "array":
        return [instance(schema["items"])] * schema.get("minItems", 0)
    return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": False}.get(kind, "x")


async def asked(client: httpx.AsyncClient, method: str, path: str, operation: dict[str, Any], **names: str) -> Any:
    """The operation with its smallest body; `names` for the parts of its path."""
    for name in re.findall(r"\{(\w+)\}", path):
        path = path.replace(f"{{{name}}}", names.get(name, "x"))
    content = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in content:
        return await client.request(method, path, files={"file": ("a.jsonl", b"{}")}, data={"purpose": "batch"})
    if content:
        return await client.request(method, path, json=instance(content["application/json"]["schema"]))
    return await client.request(method, path)


def code_of(said: httpx.Response) -> Any:
    error = said.json()["error"]
    return error.get("code") if isinstance(error, dict) else None


def plain(said: httpx.Response, *names: str) -> tuple[int, str]:
    """What was said, but for the names in it."""
    text = said.text
    for name in names:
        text = text.replace(name, "NAME")
    return said.status_code, re.sub(r"req_[0-9a-f]+", "req", text)


def test_every_path_says_whose_ids_it_takes() -> None:
    with_names = {path for _, path, _ in OPERATIONS if "{" in path}
    assert with_names == set(OF_PROJECTS) | OF_NOBODY


@pytest.mark.parametrize("kind", ["none", "bad", "expired", "revoked"])
def test_nothing_without_a_good_token(world: World, kind: str) -> None:
    secret = secret_of(world, kind)
    before = rows(world.store, THEIRS)

    async def work() -> None:
        async with world.client(secret) as client:
            for method, path, operation in OPERATIONS:
                said = await asked(client, method, path, operation)
                if operation["x-flyball-scope"] == OPEN:
                    assert said.status_code in (200, 404), (method, path)
                else:
                    assert said.status_code == 401, (method, path)
                    assert method == "HEAD" or "key" in said.text
                    assert MARK not in said.text

    world.run(work)
    assert rows(world.store, THEIRS) == before


def secret_of(world: World, kind: str) -> str:
    """A token that is not good."""
    keys = world.store.project("theirs").keys
    new = keys.create("x", expires=1 if kind == "expired" else None)
    if kind == "revoked":
        keys.revoke(new.key.id)
    return {"none": "", "bad": new.secret[:-2] + "--"}.get(kind, new.secret)


def test_nothing_without_its_scope(world: World) -> None:
    """Not in one's own project either."""
    without = {scope: world.token("theirs", scopes=[each for each in SCOPES if each != scope]) for scope in SCOPES}
    before = rows(world.store, THEIRS)

    async def work() -> None:
        for method, path, operation in OPERATIONS:
            if (scope := operation["x-flyball-scope"]) in (OPEN, ANY):
                continue
            async with world.client(without[scope]) as client:
                said = await asked(client, method, path, operation, id=world.ids.get(OF_PROJECTS.get(path, ""), "x"))
            assert said.status_code == 403, (method, path)
            if method != "HEAD":
                assert scope in said.text, (method, path)
                assert code_of(said) in ("missing_scope", None), (method, path)

    world.run(work)
    assert rows(world.store, THEIRS) == before


def test_ids_of_others_in_paths_are_those_of_nobody(world: World) -> None:
    mine = world.token("mine")
    before = rows(world.store, THEIRS)

    async def work() -> None:
        async with world.client(mine) as client:
            for method, path, operation in OPERATIONS:
                if path not in OF_PROJECTS:
                    continue
                theirs = world.ids[OF_PROJECTS[path]]
                absent = theirs[:-6] + "000000"
                said = [await asked(client, method, path, operation, id=each) for each in (theirs, absent)]
                assert said[0].status_code == 404, (method, path, said[0].text)
                assert plain(said[0], theirs) == plain(said[1], absent), (method, path)

    world.run(work)
    assert rows(world.store, THEIRS) == before


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("POST", "/v1/feedback", "answer", 404),
        ("POST", "/v1/verify", "answer", 404),
        ("POST", "/v1/batches", "file", 404),
        ("GET", "/v1/files?after={}", "file", 400),
        ("GET", "/v1/batches?after={}", "batch", 400),
        ("GET", "/v1/examples?after={}", "example", None),
        ("GET", "/admin/tokens?project={}", "project", 404),
        ("GET", "/admin/quota?project={}", "project", 404),
        ("GET", "/admin/log?project={}", "project", 404),
        ("POST", "/admin/tokens", "project", 404),
        ("DELETE", "/admin/tokens/{}?project=theirs", "token", 404),
        ("POST", "/admin/projects", "project", 403),
        ("POST", "/admin/quota", "project", 403),
        ("POST", "/v1/chat/completions", "adapter", None),
    ],
)
def test_ids_of_others_elsewhere_are_those_of_nobody(
    world: World, method: str, path: str, kind: str, status: int | None
) -> None:
    theirs = {**world.ids, "project": "theirs", "adapter": "a" * 64}[kind]
    absent = theirs[:-4] + "0000"
    bodies: dict[str, Callable[[str], object]] = {
        "/v1/feedback": lambda each: {"id": each, "rating": "good"},
        "/v1/verify": lambda each: {"id": each},
        "/v1/batches": lambda each: {"input_file_id": each, "endpoint": "/v1/chat/completions"},
        "/admin/tokens": lambda each: {"name": "x", "project": each},
        "/admin/projects": lambda each: {"name": each},
        "/admin/quota": lambda each: {"project": each, "concurrent": 0},
        "/v1/chat/completions": lambda each: QUESTION | {"adapter": each},
    }
    before = rows(world.store, THEIRS)

    async def work() -> None:
        async with world.client(world.token("mine")) as client:
            said = []
            for each in (theirs, absent):
                body = bodies[path](each) if method == "POST" else None
                said.append(await client.request(method, path.format(each), json=body))
        if status is not None:
            assert said[0].status_code == status, said[0].text
        assert plain(said[0], theirs) == plain(said[1], absent)
        assert MARK not in said[0].text

    world.run(work)
    assert rows(world.store, THEIRS) == before


@pytest.mark.parametrize("header", ["last-event-id", "idempotency-key"])
def test_names_of_others_in_headers_give_ones_own_answer(world: World, header: str) -> None:
    theirs = {"last-event-id": world.event, "idempotency-key": "theirs"}[header]
    absent = ("f" * 24 + theirs[24:]) if header == "last-event-id" else "nobody"
    other = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 4, "seed": 7, "stream": True}
    before = rows(world.store, THEIRS)

    async def work() -> None:
        async with world.client(world.token("theirs")) as them:
            if header == "idempotency-key":
                await them.post("/v1/chat/completions", json=QUESTION, headers={header: theirs})
        async with world.client(world.token("mine")) as client:
            said = []
            for each in (theirs, absent):
                answer = await client.post("/v1/chat/completions", json=other, headers={header: each})
                said.append((answer.status_code, *contents(answer.text)))
        assert said[0][0] == 200
        assert len(said[0]) > 1 or header == "last-event-id"
        assert said[0] == said[1]

    world.run(work)
    after = rows(world.store, THEIRS)
    del before["requests"], after["requests"], before["api_keys"], after["api_keys"]
    assert {name for name in before if before[name] != after[name]} <= {"receipts", "admin_log", *COUNTS}


def contents(stream: str) -> Iterator[str]:
    """The content of a stream, letter by letter: how it was cut into events is a matter of time."""
    for text in re.findall(r'"content":("(?:[^"\\\\]|\\\\.)*")', stream):
        yield from json.loads(text)


COUNTS = ("performance", "first_token_times", "model_performance_metrics", "cached_answers")


def test_lists_have_nothing_of_others(world: World) -> None:
    """Whatever can be read without naming anything, as the owner of another project."""

    async def work() -> None:
        async with world.client(world.token("mine")) as client:
            for method, path, operation in OPERATIONS:
                if method != "GET" or "{" in path:
                    continue
                said = await asked(client, method, path, operation)
                assert said.status_code < 500, path
                for each in (MARK, *world.ids.values()):
                    assert each not in said.text, path
            told = Decided(0.0, "GUARD_TOKEN_STOP", {}, world.ids["answer"], "theirs")
            world.app.state.server.observe.latest_decisions.append(told)
            assert (await client.get("/v1/status")).json()["decisions"] == []
            for path in ("/v1/memory?q=crow", "/v1/memory?user=x", "/v1/examples?state=proposed"):
                assert MARK not in (await client.get(path)).text

    world.run(work)


def test_an_equal_question_is_no_hit_for_another_project(world: World) -> None:
    """While it is one in its own: else this would pass with the caches off."""

    async def work() -> None:
        async with world.client(world.token("theirs")) as them, world.client(world.token("mine")) as me:
            theirs = await them.post("/v1/chat/completions", json=QUESTION)
            mine = await me.post("/v1/chat/completions", json=QUESTION)
            assert theirs.headers["flyball-cache"] == "hit"
            assert mine.headers["flyball-cache"] == "miss"
            assert mine.json()["choices"] == theirs.json()["choices"]
            assert mine.json()["id"] != theirs.json()["id"]
            long = [{"role": "user", "content": "Tell me of the old mill and the crow. " * 8}]
            await them.post("/v1/chat/completions", json=QUESTION | {"messages": long})
            other = QUESTION | {"messages": long, "seed": 8}
            usage = [(await each.post("/v1/chat/completions", json=other)).json()["usage"] for each in (them, me)]
            cached = [each["prompt_tokens_details"]["cached_tokens"] for each in usage]
            assert cached[0] > 0
            assert cached[1] == 0
            removed = (await me.delete("/v1/cache")).json()["removed"]
            again = await them.post("/v1/chat/completions", json=QUESTION)
            assert removed >= 1
            assert again.headers["flyball-cache"] == "hit"

    world.run(work)
