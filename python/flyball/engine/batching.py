"""Continuous batching: one thread per model computes all running answers together; they join and leave at any step."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import _core
from ..errors import Interrupted
from ..pickling import Unpicklable
from .results import Piece, Result, make_piece

if TYPE_CHECKING:
    from concurrent.futures import Future

_STEPS_NS = 5_000_000  # computing time between two checks for new jobs


class Job:
    """One answer to compute. `future` gets its Result; `on_piece`, if given, gets each Piece."""

    def __init__(
        self,
        start: Callable[[], _core.GenerationCore],
        finish: Callable[[_core.GenerationCore], Result],
        on_piece: Callable[[Piece], None] | None = None,
    ) -> None:
        from concurrent.futures import Future  # imports logging: a third of the package's import time

        self.future: Future[Result] = Future()
        self.on_piece = on_piece
        self._start = start
        self._finish = finish
        self.core: _core.GenerationCore | None = None
        self.future.add_done_callback(self._cancel_core)

    def _cancel_core(self, future: Future[Result]) -> None:
        if future.cancelled() and self.core is not None:
            self.core.cancel()

    def begin(self) -> bool:
        """Start the answer; False if it was canceled or failed."""
        if self.future.cancelled():
            return False
        try:
            self.core = self._start()
        except Exception as error:
            self._fail(error)
            return False
        return True

    def take(self, step: tuple[int | None, float, str, bool] | Exception) -> bool:
        """Handle a step's output; True if the answer is complete."""
        if isinstance(step, Exception):
            self._fail(step)
            return True
        token, logprob, text, done = step
        if self.on_piece is not None and (token is not None or text):
            assert self.core is not None
            self.on_piece(make_piece(self.core, token, logprob, text))
        if done:
            assert self.core is not None
            try:
                result = self._finish(self.core)
            except Exception as error:
                self._fail(error)
            else:
                if self.future.set_running_or_notify_cancel():
                    self.future.set_result(result)
        return done

    def _fail(self, error: Exception) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


class Batcher:
    """Runs the jobs of one model, at most `parallel` at a time; the others wait in a queue."""

    def __init__(self, parallel: int = 64) -> None:
        self.parallel = parallel
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> Future[Result]:
        """Queue a job; returns the future of its Result."""
        with self._changed:
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flyball-batch", daemon=True)
                self._thread.start()
            self._changed.notify()
        return job.future

    def _run(self) -> None:
        running: list[Job] = []
        while True:
            with self._changed:
                # An idle thread ends: it would keep a model alive that the program has dropped.
                if not running and not self._waiting and not self._changed.wait_for(lambda: self._waiting, timeout=1):
                    self._thread = None
                    return
                joining = [
                    self._waiting.popleft() for _ in range(min(len(self._waiting), self.parallel - len(running)))
                ]
            running += [job for job in joining if job.begin()]
            if running:
                running = self._step(running)

    def _step(self, running: list[Job]) -> list[Job]:
        patient = all(job.on_piece is None for job in running)
        cores = [job.core for job in running if job.core is not None]
        try:
            steps: list[tuple[int | None, float, str, bool] | Exception] = list(
                _core.step_many(cores, _STEPS_NS if patient else 0)
            )
        except Exception as error:  # the call itself failed, and with it all jobs
            steps = [error] * len(running)
        return [job for job, step in zip(running, steps, strict=True) if not job.take(step)]


def submit_all(batcher: Batcher, jobs: list[Job], parallel: int) -> None:
    """Submit `parallel` of the jobs, and the next one whenever one ends."""
    left = iter(jobs)

    def submit_next(_: object = None) -> None:
        for job in left:
            if not job.future.cancelled():
                job.future.add_done_callback(submit_next)
                batcher.submit(job)
                return

    for _ in range(parallel):
        submit_next()


def wait_all(jobs: list[Job]) -> list[Result]:
    """The results in order. An error or Ctrl-C cancels all jobs."""
    try:
        return [job.future.result() for job in jobs]
    except BaseException:
        for job in jobs:
            job.future.cancel()
        raise


async def awaited(future: Future[Result]) -> Result:
    """The Result; canceling the await cancels the answer."""
    import asyncio

    return await asyncio.wrap_future(future)


class AsyncStream(Unpicklable, AsyncIterator[Piece]):
    """The pieces of an answer as they come, for `async for`; afterwards `result` is the whole answer.

    aclose(), leaving an `async with`, or dropping the last reference ends the answer early.
    """

    _instead = "it computes an answer; take its `result`"

    def __init__(self, submit: Callable[[Callable[[Piece], None]], Future[Result]]) -> None:
        import asyncio  # another third of the package's import time

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
        if not self._future.cancelled() and (error := self._future.exception()) is not None:
            raise error
        raise StopAsyncIteration

    @property
    def result(self) -> Result:
        """The Result; raises Interrupted if the answer is not complete or was ended early."""
        if self._future.cancelled() or not self._future.done():
            raise Interrupted("stream", "has no result: the answer is not complete, or was ended early")
        return self._future.result()

    async def aclose(self) -> None:
        """End the answer now."""
        self._future.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._future.cancel()

    def __del__(self) -> None:
        self._future.cancel()
