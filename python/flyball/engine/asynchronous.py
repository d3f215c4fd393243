"""Answers of the batch thread for asyncio."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..pickling import Unpicklable
from .results import Piece, Result

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future


Take = Callable[[Piece | None], object]  # what gets an answer's pieces in the event loop, and None at their end


class Mailbox:
    """Brings what batch threads make to an event loop: with one wake-up for all answers of a step, not one each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._items: deque[tuple[Take, Piece | None]] = deque()
        self._awake = False  # a wake-up is on its way

    def put(self, take: Take, piece: Piece | None) -> None:
        """From any thread."""
        self._items.append((take, piece))
        loop = self._loop()
        if not self._awake and loop is not None:
            self._awake = True
            with suppress(RuntimeError):  # the loop is closed, so there is no reader
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._awake = False  # first: what comes from now on wakes again
        while self._items:
            take, piece = self._items.popleft()
            take(piece)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()


def _mailbox(loop: asyncio.AbstractEventLoop) -> Mailbox:
    if (box := _mailboxes.get(loop)) is None:
        box = _mailboxes[loop] = Mailbox(loop)
    return box


def delivered(submit: Callable[[Callable[[Piece], None]], Future[Result]], take: Take) -> Future[Result]:
    """Submit an answer whose pieces `take` gets, in the running event loop. Canceling the future ends it."""
    import asyncio  # another third of the package's import time

    put = partial(_mailbox(asyncio.get_running_loop()).put, take)
    future = submit(put)
    future.add_done_callback(lambda _: put(None))
    return future


async def awaited(future: Future[Result]) -> Result:
    """The Result; canceling the await cancels the answer."""
    import asyncio

    return await asyncio.wrap_future(future)


class AsyncStream(Unpicklable, AsyncIterator[Piece]):
    """The pieces of an answer as they come, for `async for`; afterwards `result` is the whole answer.

    aclose(), leaving an `async with`, or dropping the last reference ends the answer early.
    """

    _instead = "it computes an answer; take its `result`"
    _future: Future[Result] | None = None  # of an answer that was refused

    def __init__(self, submit: Callable[[Callable[[Piece], None]], Future[Result]]) -> None:
        import asyncio

        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._future = delivered(submit, self._pieces.put_nowait)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Piece:
        piece = await self._pieces.get()
        if piece is not None:
            return piece
        self._pieces.put_nowait(None)  # for other readers of this stream
        assert self._future is not None
        if not self._future.cancelled() and (error := self._future.exception()) is not None:
            raise error
        raise StopAsyncIteration

    @property
    def result(self) -> Result:
        """The Result; raises Interrupted if the answer is not complete or was ended early."""
        if self._future is None or self._future.cancelled() or not self._future.done():
            raise Interrupted("stream", "has no result: the answer is not complete, or was ended early")
        return self._future.result()

    def end(self) -> None:
        """End the answer now: its reader gets no more pieces, and no result."""
        if self._future is not None:
            self._future.cancel()

    async def aclose(self) -> None:
        """End the answer now."""
        self.end()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.end()

    def __del__(self) -> None:
        self.end()
