"""Answers of the batch thread for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..pickling import Unpicklable
from .results import Piece, Result

if TYPE_CHECKING:
    from concurrent.futures import Future


async def awaited(future: Future[Result]) -> Result:
    """The Result; canceling the await cancels the answer."""
    import asyncio  # another third of the package's import time

    return await asyncio.wrap_future(future)


class AsyncStream(Unpicklable, AsyncIterator[Piece]):
    """The pieces of an answer as they come, for `async for`; afterwards `result` is the whole answer.

    aclose(), leaving an `async with`, or dropping the last reference ends the answer early.
    """

    _instead = "it computes an answer; take its `result`"
    _future: Future[Result] | None = None  # of an answer that was refused

    def __init__(self, submit: Callable[[Callable[[Piece], None]], Future[Result]]) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()

        def put(piece: Piece | None) -> None:
            with suppress(RuntimeError):  # the loop is closed, so there is no reader
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        self._pieces = pieces
        self._future = submit(put)
        self._future.add_done_callback(lambda _: put(None))

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

    def _end(self) -> None:
        if self._future is not None:
            self._future.cancel()

    async def aclose(self) -> None:
        """End the answer now."""
        self._end()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._end()

    def __del__(self) -> None:
        self._end()
