"""Responses that come piece by piece: server-sent events, and lines of JSON for Ollama's clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from .failures import Failure

T = TypeVar("T")

_HEARTBEAT_SECONDS = 10.0
_HEARTBEAT = b":\n\n"  # a comment: clients pass over it
_NO_BUFFERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once, not for each token


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8."""
    return _encode(value).encode(errors="replace")


def json_response(value: object, headers: Mapping[str, str]) -> Response:
    """A whole response that repeats what a client has sent: whatever texts those are."""
    return Response(dumps(value), media_type="application/json", headers=dict(headers))


def event(data: object, name: str | None = None, identity: str | None = None) -> bytes:
    """One server-sent event; `data` that is bytes is JSON already."""
    lines = [f"id: {identity}\n" if identity else "", f"event: {name}\n" if name else ""]
    raw = data if isinstance(data, bytes) else dumps(data)
    return "".join(lines).encode() + b"data: " + raw + b"\n\n"


class Chunks:
    """OpenAI's events of a stream: each has the same head. What a choice begins and ends with waits for the next one,
    so that it costs no write of its own, and the last of all can be given more members."""

    def __init__(self, head: Mapping[str, Any], write: Callable[[bytes], bytes]) -> None:
        self._opening = dumps(head)[:-1] + b","
        self._write = write
        self._held: list[Mapping[str, Any]] = []

    def give(self, chunk: Mapping[str, Any], hold: bool) -> bytes:
        """What is to be sent now that this chunk is there: nothing if it waits."""
        self._held.append(chunk)
        if hold:
            return b""
        held, self._held = self._held, []
        return b"".join(map(self._event, held))

    def last(self, *more: Mapping[str, Any]) -> bytes:
        """What waits still. `more`: members of the last chunk; then, if they are given, those of chunks after it."""
        held = [*self._held[:-1], {**self._held[-1], **more[0]}, *more[1:]]
        return b"".join(map(self._event, held))

    def _event(self, chunk: Mapping[str, Any]) -> bytes:
        return self._write(self._opening + dumps(chunk)[1:])


DONE = b"data: [DONE]\n\n"


class Client(Exception):
    """The client is gone."""


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it when the client goes: for answers that are sent whole."""
    working = asyncio.current_task()
    assert working is not None
    is_gone = is_done = False

    def on_gone(_: object) -> None:
        nonlocal is_gone
        if not is_done:
            is_gone = True
            working.cancel()

    watch = asyncio.create_task(_gone(request))
    watch.add_done_callback(on_gone)
    try:
        return await work
    except asyncio.CancelledError:
        if is_gone and not working.uncancel():
            raise Client from None
        raise
    finally:
        is_done = True
        watch.cancel()


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
    first = asyncio.ensure_future(_first(chunks))
    try:
        # No longer, for the client may want to see that the server is there.
        await until_gone(request, asyncio.wait((first,), timeout=_HEARTBEAT_SECONDS))
        early = first.result() if first.done() else heartbeat
    except BaseException:
        await _leave(first, chunks)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            yield early
            if not first.done():
                yield await first
            async for chunk in chunks:
                if chunk:
                    yield chunk
        except Exception as error:
            failure = Failure.of(error)
            if failure.status == 503 and request.headers.get("flyball-tokens") == "tell":
                yield b": elsewhere\n"  # another server would go on
            yield on_failure(failure)
        finally:
            await _leave(first, chunks)

    return _Beating(body(), heartbeat, kind, {**_NO_BUFFERS, **(headers or {})})


async def _first(chunks: AsyncIterator[bytes]) -> bytes:
    """The first chunk that is not empty; empty: there is none."""
    async for chunk in chunks:
        if chunk:
            return chunk
    return b""


async def _leave(first: asyncio.Future[bytes], chunks: AsyncIterator[bytes]) -> None:
    """End the answer, wherever it is."""
    if not first.done():
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    await chunks.aclose()  # type: ignore[attr-defined]


class _Beating(StreamingResponse):
    """Sends heartbeats where no chunk came for a while: beside the chunks, which need no task each for that."""

    def __init__(self, body: AsyncIterator[bytes], heartbeat: bytes, kind: str, headers: Mapping[str, str]) -> None:
        super().__init__(body, media_type=kind, headers=headers)
        self._heartbeat = heartbeat
        self._sent = 0.0

    async def stream_response(self, send: Send) -> None:
        beating: asyncio.Task[None] | None = None

        async def sending(message: Message) -> None:
            nonlocal beating
            self._sent = time.monotonic()
            if message["type"] == "http.response.body" and not message.get("more_body") and beating is not None:
                beating.cancel()
            await send(message)
            # Where many chunks are ready, others have their turn between them, and a client that goes is noticed.
            await asyncio.sleep(0)
            if message["type"] == "http.response.start" and self._heartbeat:
                beating = asyncio.create_task(self._beat(send))

        try:
            async with aclosing(self.body_iterator):  # type: ignore[type-var]
                await super().stream_response(sending)
        finally:
            if beating is not None:
                beating.cancel()

    async def _beat(self, send: Send) -> None:
        with suppress(OSError):  # the client has gone, which whoever sends the chunks will notice
            while True:
                await asyncio.sleep(max(0.0, self._sent + _HEARTBEAT_SECONDS - time.monotonic()))
                if time.monotonic() - self._sent >= _HEARTBEAT_SECONDS:
                    self._sent = time.monotonic()
                    await send({"type": "http.response.body", "body": self._heartbeat, "more_body": True})


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
