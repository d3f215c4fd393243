"""The flows: what a page load, a chat and a batch of jobs ask of a server."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from .answers import Answer, read_answer
from .plan import ChatOptions, JobsOptions, PageOptions
from .record import Record
from .wire import Connection, Pool

_AT_ONCE = 6  # connections of a browser to a server
_RUNNING = ("validating", "in_progress", "finalizing", "cancelling")  # what a batch is until it has ended
_TAGS = re.compile(r"<(?:link|script|img)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"", re.IGNORECASE)
_IMPORTS = re.compile(r"^\s*(?:import|export)\b[^\"';]*[\"'](\.[^\"']+)[\"']", re.MULTILINE)


class Failed(Exception):
    """An iteration cannot go on; why is in the record."""


@dataclass(frozen=True)
class Target:
    """A server as a flow uses it."""

    pool: Pool
    path: str
    headers: Mapping[str, str]
    timeout_s: float
    seed: int

    @classmethod
    def of(cls, url: str, key: str, timeout_s: float, seed: int) -> Target:
        """`url` may have a path that comes before all others."""
        parts = urlsplit(url)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return cls(Pool(f"{parts.scheme}://{parts.netloc}"), parts.path.rstrip("/"), headers, timeout_s, seed)


class Visit:
    """One iteration: its requests and checks go into the flow's record.

    The first request counts from when the iteration was due: what waited for the server or for this program has waited.
    """

    def __init__(self, target: Target, record: Record, number: int, due: float) -> None:
        self.target = target
        self.record = record
        self.number = number
        self.clock = asyncio.get_running_loop().time
        self.answer: Answer | None = None
        self.good = True
        self._due: float | None = due

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[Connection, float]]:
        """A request whose head has come, and its beginning; the block reads the body."""
        start, self._due = self.clock() if self._due is None else self._due, None
        connection = None
        try:
            async with asyncio.timeout(self.target.timeout_s):
                connection = await self.target.pool.take()
                connection.send(method, self.target.path + path, body, {**self.target.headers, **(headers or {})})
                await connection.head()
                yield connection, start
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.record.request(1e3 * (self.clock() - start), failed=True)
            self.record.error(f"{method} {_plain(path)}: {_told(error)}")
            raise Failed from error
        except asyncio.CancelledError:
            self.record.request(None, failed=True)
            raise
        finally:
            if connection is not None:
                self.target.pool.give(connection)
        self.record.request(1e3 * (self.clock() - start), failed=connection.status >= 400)

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """A request's status and body; an error's text is kept."""
        async with self.request(method, path, body, headers) as (connection, _):
            raw = await connection.whole()
        if connection.status >= 400:
            self.record.error(f"{method} {_plain(path)}: {connection.status} {raw[:120].decode(errors='replace')}")
        return connection.status, raw

    async def json(self, what: str, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """The object that a request gives; a check says whether it did."""
        status, raw = await self.ask(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            found = json.loads(raw) if status == 200 else None
        except (ValueError, RecursionError):
            found = None
        self.need(what, isinstance(found, dict))
        return dict(found or {})

    def check(self, name: str, good: bool) -> bool:
        """Count a check; an iteration with one that fails is not good."""
        self.record.check(name, good)
        self.good &= good
        return good

    def need(self, name: str, good: bool) -> None:
        """A check without which the iteration cannot go on."""
        if not self.check(name, good):
            raise Failed


async def page(visit: Visit, options: PageOptions) -> None:
    """Load a page as a browser does: with what it names, and what its modules import, from the same server."""
    status, raw = await visit.ask("GET", options.path, headers={"accept": "text/html"})
    visit.need("page loads", status == 200)
    seen, gate = {options.path}, asyncio.Semaphore(_AT_ONCE)

    async def load(path: str) -> list[str]:
        async with gate:
            status, raw = await visit.ask("GET", path)
        visit.check("page's files load", status == 200)
        return _named(path, _IMPORTS, raw) if urlsplit(path).path.endswith(".js") else []

    found = _named(options.path, _TAGS, raw)
    while wave := [path for path in dict.fromkeys(found) if path not in seen]:
        seen.update(wave)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(load(path)) for path in wave]
        except* Failed:
            raise Failed from None
        found = [path for task in tasks for path in task.result()]


def _named(base: str, pattern: re.Pattern[str], raw: bytes) -> list[str]:
    """Paths on the same server that a text names."""
    links = (urlsplit(urljoin(base, link)) for link in pattern.findall(raw.decode(errors="replace")))
    return [link.path + (f"?{link.query}" if link.query else "") for link in links if not link.scheme + link.netloc]


async def chat(visit: Visit, options: ChatOptions) -> None:
    """Look at the models, if that is asked for, and read a streamed answer."""
    if options.login:
        status, _ = await visit.ask("GET", "/v1/models")
        visit.need("login is accepted", status == 200)
    body = _question(visit, options, visit.number) | {"stream": True, "stream_options": {"include_usage": True}}
    async with visit.request("POST", "/v1/chat/completions", body) as (connection, start):
        answer = visit.answer = Answer(start)
        said = b""
        if connection.status == 200:
            await read_answer(connection, answer, visit.clock)
        else:
            said = await connection.whole()
    if why := answer.error or said[:120].decode(errors="replace"):
        visit.record.error(f"chat: {connection.status} {why}")
    visit.check("chat's status is 200", connection.status == 200)
    visit.check("answer is whole", bool(answer.pieces) and not answer.error)


async def jobs(visit: Visit, options: JobsOptions) -> None:
    """Upload questions, have them answered as a batch, ask until it has ended, and take the files away again."""
    url = "/v1/chat/completions"
    lines = [
        {"custom_id": str(i), "method": "POST", "url": url, "body": _question(visit, options, visit.number + i)}
        for i in range(options.lines)
    ]
    form, kind = _form("".join(json.dumps(line) + "\n" for line in lines).encode(), visit.target.seed, visit.number)
    file = await visit.json("file is uploaded", "POST", "/v1/files", form, content_type=kind)
    order = {"input_file_id": file.get("id"), "endpoint": url, "completion_window": "24h"}
    batch = await visit.json("batch is created", "POST", "/v1/batches", order)
    end = visit.clock() + visit.target.timeout_s
    while batch.get("status") in _RUNNING and visit.clock() < end:
        await asyncio.sleep(options.poll_s)
        batch = await visit.json("batch is told of", "GET", f"/v1/batches/{batch.get('id')}")
    counts = batch.get("request_counts")
    n = counts.get("completed") if isinstance(counts, dict) else None
    visit.check("batch is complete", batch.get("status") == "completed" and n == options.lines)
    for identity in (file.get("id"), batch.get("output_file_id"), batch.get("error_file_id")):
        if identity:
            status, _ = await visit.ask("DELETE", f"/v1/files/{identity}")
            visit.check("file is deleted", status == 200)


def _question(visit: Visit, options: ChatOptions | JobsOptions, number: int) -> dict[str, Any]:
    """A chat, with a seed of its own: equal requests may be computed once."""
    chance = random.Random(f"{visit.target.seed} {visit.record.flow.name} {number}")
    body = {"messages": [{"role": "user", "content": chance.choice(options.prompts)}], "seed": chance.getrandbits(31)}
    return body | {"max_tokens": options.max_tokens} | ({"model": options.model} if options.model else {})


def _form(content: bytes, seed: int, number: int) -> tuple[bytes, str]:
    edge = f"flyball-{seed:x}-{number:x}-5f1c9f52c0"
    fields = f'--{edge}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{edge}\r\n'
    fields += 'content-disposition: form-data; name="file"; filename="load.jsonl"\r\n\r\n'
    return fields.encode() + content + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def _plain(path: str) -> str:
    """A path without the ids in it, so that equal errors are counted together."""
    return re.sub(r"/[a-z]+[-_][\w-]{8,}", "/ID", path)


def _told(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"[:160]


async def perform(visit: Visit, options: PageOptions | ChatOptions | JobsOptions) -> None:
    """One iteration of a flow. Raises Failed."""
    flow: Callable[[Visit, Any], Awaitable[None]] = _FLOWS[type(options)]
    await flow(visit, options)


_FLOWS: dict[type, Callable[[Visit, Any], Awaitable[None]]] = {
    PageOptions: page,
    ChatOptions: chat,
    JobsOptions: jobs,
}
