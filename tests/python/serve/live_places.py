"""Servers in this process whose settings change, and their owner."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import flyball
from flyball.config.configuration import resolve
from flyball.serve.models import Entry, Models
from flyball.serve.records import Records
from flyball.serve.server import Server, working
from flyball.serve.settings import ServeSettings
from flyball.store import Store

CHAT, CONFIG = "/v1/chat/completions", "/admin/config"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me a story."}], "seed": 1}


@dataclass
class Place:
    """A running server with an owner of its default project."""

    server: Server
    client: httpx.AsyncClient
    store: Store | None

    @property
    def etag(self) -> dict[str, str]:
        return {"if-match": f'"{self.server.live.newest.number}"'}

    @property
    def opened(self) -> Store:
        """The store, of a server that has one."""
        assert self.store is not None
        return self.store

    async def set(self, status: int = 200, **how: Any) -> dict[str, Any]:
        """PATCH these settings (dots as two underscores), from the revision in force."""
        values = {key.replace("__", "."): value for key, value in how.items()}
        said = await self.client.patch(CONFIG, json={"settings": values, "watch_seconds": 0}, headers=self.etag)
        assert said.status_code == status, said.text
        return dict(said.json())

    async def ask(self, **members: Any) -> httpx.Response:
        return await self.client.post(CHAT, json=QUESTION | {"max_tokens": 4} | members)


@asynccontextmanager
async def running(
    store: Store | None, role: str = "owner", project: str = "default", **given: str
) -> AsyncIterator[Place]:
    """One that was started with these settings (dots as two underscores), as `flyball serve` does it."""
    configuration = resolve("/dev/null", {key.replace("__", "."): word for key, word in given.items()}, {})
    governor = {key: each.value for key, each in configuration.items() if key.startswith(("autotune.", "guard."))}
    chosen = ServeSettings.of(configuration, (), store is not None)
    path = flyball.demo_model_path()

    def load() -> flyball.Model:
        return flyball.Model.load(path, context=512, governor=governor)

    entries = [
        Entry("demo", path, load),
        Entry("spare", path, load, keep_alive=configuration["serve.keep_alive"].value),
    ]
    records = Records(store)
    server = Server(chosen, Models(entries, chosen.memory_bytes), records, None, configuration)
    await server.models.get("demo")
    secret = "" if store is None else store.project(project).keys.create("x", role=role).secret
    async with working(server) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers, timeout=120
        ) as client:
            yield Place(server, client, store)
    records.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(240):
            await work()

    asyncio.run(bounded())


@contextmanager
def told(words: str) -> Iterator[None]:
    """It is said where the server runs."""
    with pytest.warns(RuntimeWarning, match=words):
        yield


async def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
