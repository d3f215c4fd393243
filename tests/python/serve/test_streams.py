"""Streams in this process: when chunks are sent, and what is sent meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request

from flyball.serve import streams
from flyball.serve.failures import Failure

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": [], "asgi": {"spec_version": "2.3"}}


def choice(**members: Any) -> dict[str, Any]:
    return {"choices": [members]}


def test_a_token_is_sent_when_it_is_there() -> None:
    chunks = streams.Chunks({"id": "x"}, lambda raw: raw + b"\n")
    assert chunks.give(choice(role=1), hold=True) == b""
    assert chunks.give(choice(text="a"), hold=False) == (
        b'{"id":"x","choices":[{"role":1}]}\n{"id":"x","choices":[{"text":"a"}]}\n'
    )
    assert chunks.give(choice(text="b"), hold=False) == b'{"id":"x","choices":[{"text":"b"}]}\n'
    assert chunks.give(choice(end=1), hold=True) == b""
    assert chunks.last({}, {"usage": 2}) == b'{"id":"x","choices":[{"end":1}]}\n{"id":"x","usage":2}\n'


async def send(chunks: AsyncIterator[bytes], gone_after: int | None = None) -> list[bytes]:
    """What a client gets that goes after so many messages; None: at the end."""
    got: list[bytes] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def sending(message: Any) -> None:
        got.append(message.get("body", b"start"))
        if not message.get("more_body", True) or len(got) == gone_after:
            gone.set()

    request = Request(SCOPE, receive)
    response = await streams.streamed(request, chunks, lambda failure: failure.message.encode(), heartbeat=b"~")
    await response(SCOPE, receive, sending)
    return got


def test_heartbeats_fill_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_HEARTBEAT_SECONDS", 0.02)

    async def slow() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"b"):
            await asyncio.sleep(0.2)
            yield chunk

    got = asyncio.run(send(slow()))
    assert [chunk for chunk in got if chunk != b"~"] == [b"start", b"a", b"b", b""]
    assert got[1] == b"~"  # before the first chunk is there
    assert b"~" in got[got.index(b"a") : got.index(b"b")]


def test_a_failure_on_the_way_is_an_event() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise Failure(503, "too late")

    assert asyncio.run(send(failing())) == [b"start", b"a", b"too late", b""]


def test_others_have_their_turn_between_chunks_that_are_ready() -> None:
    """A long answer that is there at once (a repetition of it) does not keep the loop, and its end is noticed."""
    n_made, is_closed = 0, False

    async def ready() -> AsyncIterator[bytes]:
        nonlocal n_made, is_closed
        try:
            while n_made < 100_000:
                n_made += 1
                yield b"a"
        finally:
            is_closed = True

    asyncio.run(send(ready(), gone_after=10))
    assert n_made < 100
    assert is_closed
