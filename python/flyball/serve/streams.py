"""Responses that come piece by piece: server-sent events, and lines of JSON for Ollama's clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .failures import Failure

T = TypeVar("T")

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = b":\n\n"  # a comment: clients pass over it
_NO_BUFFERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def json_response(value: object, headers: Mapping[str, str]) -> Response:
    """A whole response that repeats what a client has sent: whatever texts those are."""
    return Response(dumps(value), media_type="application/json", headers=dict(headers))


def event(data: object, name: str | None = None, identity: str | None = None) -> bytes:
    """One server-sent event."""
    lines = [f"id: {identity}\n" if identity else "", f"event: {name}\n" if name else ""]
    return "".join(lines).encode() + b"data: " + dumps(data) + b"\n\n"


DONE = b"data: [DONE]\n\n"


class Client(Exception):
    """The client is gone."""


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it when the client goes: for answers that are sent whole."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Client
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def streamed(
    request: Request,
    chunks: AsyncIterator[bytes],
    on_failure: Callable[[Failure], bytes],
    *,
    kind: str = "text/event-stream",
    heartbeat: bytes = _HEARTBEAT,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response of these chunks. What fails before the first one is the response's status; later it is an event.

    `heartbeat` is sent while nothing else is, so that a long prompt is no silence; empty: none.
    """
    beating = _beating(chunks, heartbeat)
    first = await until_gone(request, anext(beating, b""))

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(beating):
            yield first
            try:
                async for chunk in beating:
                    yield chunk
            except Exception as error:
                yield on_failure(Failure.of(error))

    return StreamingResponse(body(), media_type=kind, headers={**_NO_BUFFERS, **(headers or {})})


async def _beating(chunks: AsyncIterator[bytes], heartbeat: bytes) -> Any:
    """The chunks, with heartbeats where none comes for a while."""
    following: asyncio.Future[bytes] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(chunks))
            while not (await asyncio.wait((following,), timeout=_HEARTBEAT_SECONDS))[0]:
                if heartbeat:
                    yield heartbeat
            try:
                chunk = following.result()
            except StopAsyncIteration:
                return
            if chunk:
                yield chunk
    finally:
        if following is not None and not following.done():
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await chunks.aclose()  # type: ignore[attr-defined]


def merged(streams: list[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    """The items of several streams as they come, with the stream's number. Leaving it ends them all."""
    return _merged(streams) if len(streams) != 1 else _alone(streams[0])


async def _alone(stream: AsyncIterator[T]) -> AsyncIterator[tuple[int, T]]:
    async with aclosing(stream) as items:  # type: ignore[type-var]
        async for item in items:
            yield 0, item


async def _merged(streams: list[AsyncIterator[T]]) -> AsyncIterator[tuple[int, T]]:
    waiting = {asyncio.ensure_future(anext(stream)): number for number, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda each: waiting[each]):
                number = waiting.pop(task)
                try:
                    item = task.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(streams[number]))] = number
                yield number, item
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
