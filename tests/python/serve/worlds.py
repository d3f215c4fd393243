"""A server in this process with two projects, for tests of what one may know of the other."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette

import flyball
from flyball.config.configuration import defaults
from flyball.serve.app import create_app
from flyball.serve.models import Entry, Models, Served
from flyball.serve.records import Records
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings
from flyball.store import Store

T = TypeVar("T")
MARK = "zanzibar"  # in all that the other project has
QUESTION = {"messages": [{"role": "user", "content": f"Tell me of the {MARK} crow."}], "max_tokens": 4, "seed": 7}


@dataclass
class World:
    """An application, and what the project `theirs` has, by kind."""

    store: Store
    app: Starlette
    ids: dict[str, str] = field(default_factory=dict)
    event: str = ""  # the id of an event of its stream

    def client(self, secret: str = "") -> httpx.AsyncClient:
        """Of whoever has this token."""
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers, timeout=120)

    def token(self, project: str, **how: Any) -> str:
        """A new one."""
        return self.store.project(project).keys.create("x", **how).secret

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run to the end, all that is to be stored included."""

        async def whole() -> T:
            result = await work()
            await asyncio.to_thread(self.app.state.server.records.settle)
            return result

        return asyncio.run(whole())


def server_of(model: flyball.Model, store: Store, **settings: Any) -> Server:
    """One that needs tokens."""
    entry = Entry("demo", Path(model.info.path), lambda: model, served=Served("demo", model))
    chosen = replace(ServeSettings.of(defaults(), (), True), memory_bytes=math.inf, **settings)
    return Server(chosen, Models([entry]), Records(store))


def world_of(model: flyball.Model, store: Store) -> World:
    """`mine` is empty, `theirs` has one of everything that has an id."""
    world = World(store, create_app(server_of(model, store, response_cache="store")))
    for name in ("mine", "theirs"):
        store.create_project(name)
    world.run(lambda: _fill(world, world.token("theirs")))
    return world


async def _fill(world: World, secret: str) -> None:
    async with world.client(secret) as client:
        said = await _posted(client, "/v1/chat/completions", QUESTION)
        answer, text = said["id"], said["choices"][0]["message"]["content"]
        async with client.stream("POST", "/v1/chat/completions", json=QUESTION | {"stream": True}) as stream:
            lines = [line async for line in stream.aiter_lines()]
        world.event = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
        vote = {"id": answer, "rating": "bad", "correction": f"The {MARK} flew.", "answer": text}
        await _posted(client, "/v1/feedback", vote | {"messages": QUESTION["messages"]})
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": QUESTION}
        form = {"files": {"file": ("in.jsonl", json.dumps(line))}, "data": {"purpose": "batch"}}
        file = (await client.post("/v1/files", **form)).json()["id"]  # type: ignore[arg-type]
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
        world.ids = {
            "answer": answer,
            "file": file,
            "batch": (await _posted(client, "/v1/batches", body))["id"],
            "memory": (await _posted(client, "/v1/memory", {"text": f"I am {MARK}."}))["id"],
            "example": (await client.get("/v1/examples")).json()["data"][0]["id"],
            "token": (await _posted(client, "/admin/tokens", {"name": MARK}))["id"],
        }


async def _posted(client: httpx.AsyncClient, path: str, body: object) -> Any:
    said = await client.post(path, json=body)
    assert said.status_code == 200, said.text
    return said.json()
