"""Continuous batching: one thread per model computes all running answers together; they join and leave at any step."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from .. import _core
from ..errors import Error, InvalidArgument, OutOfMemory
from .results import Piece, Result, make_piece

if TYPE_CHECKING:
    from concurrent.futures import Future

_STEPS_NS = 5_000_000  # computing time between two checks for new jobs
_IDLE_SECONDS = 1.0  # that the thread waits for more


class Work(Protocol):
    """One answer as its session or model computes it. All of it is called in the batch thread."""

    def begin(self) -> _core.GenerationCore: ...

    def finish(self, core: _core.GenerationCore) -> Result: ...

    def leave(self) -> None:
        """Give back what the answer used: called once, however it ended."""


class Job:
    """One answer to compute. `future` gets its Result; `on_piece`, if given, gets each Piece.

    Whatever goes wrong concerns this job alone. Once it has ended, it refers to nothing that it used.
    """

    def __init__(self, work: Work, on_piece: Callable[[Piece], None] | None = None) -> None:
        from concurrent.futures import Future  # imports logging: a third of the package's import time

        self.future: Future[Result] = Future()
        self.on_piece = on_piece
        self._work: Work | None = work
        self._cores: list[_core.GenerationCore] = []  # none or one: a list, for the future to refer to
        self.future.add_done_callback(partial(_cancel, self._cores))

    @property
    def core(self) -> _core.GenerationCore:
        """The running generation."""
        return self._cores[0]

    def begin(self) -> bool:
        """Start the answer; False if it was canceled or failed."""
        try:
            if self._work is not None and not self.future.cancelled():
                self._cores.append(self._work.begin())
                _cancel(self._cores, self.future)  # it may have been canceled meanwhile
                return True
        except BaseException as error:
            self.fail(error)
            return False
        self._leave()
        return False

    def take(self, step: tuple[int | None, float, str, bool] | BaseException) -> bool:
        """Handle a step's output; True if the answer has ended."""
        assert self._work is not None
        if isinstance(step, BaseException):
            self.fail(step)
            return True
        token, logprob, text, done = step
        try:
            if self.on_piece is not None and (token is not None or text):
                self.on_piece(make_piece(self.core, token, logprob, text))
            if not done:
                return False
            result = self._work.finish(self.core)
        except BaseException as error:
            self.fail(error)
            return True
        self._leave()
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)
        return True

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self._leave()
        if isinstance(error, Error):
            error.with_traceback(None)  # its frames would keep session and model
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def _leave(self) -> None:
        work, self._work, self.on_piece = self._work, None, None
        self._cores.clear()
        if work is not None:
            work.leave()


def _cancel(cores: list[_core.GenerationCore], future: Future[Result]) -> None:
    if future.cancelled():
        for core in list(cores):
            core.cancel()


class _Call:
    """The jobs that one call waits for, of which `room` may run beside those that run already."""

    def __init__(self, jobs: Sequence[Job], room: int) -> None:
        self.waiting = deque(jobs)
        self.room = room


class Batcher:
    """Runs the jobs of one model, at most `parallel` at a time; the others wait in a queue."""

    def __init__(self, parallel: int = 64) -> None:
        self.parallel = parallel
        self.working_since: float | None = None  # when the running step began (time.monotonic); None: nothing runs
        self._idle_seconds = _IDLE_SECONDS
        self._forget()
        _batchers.add(self)

    def _forget(self) -> None:
        """Begin anew: in the child of a fork there is no thread, and nobody waits for its jobs."""
        self._changed = threading.Condition()
        self._calls: deque[_Call] = deque()  # those with waiting jobs
        self._thread: threading.Thread | None = None

    def hurry(self) -> None:
        """End the thread when it has nothing to do, as the model is gone; sessions that are not may start another."""
        with self._changed:
            self._idle_seconds = 0
            self._changed.notify()

    def submit(self, jobs: Sequence[Job], parallel: int = 1) -> None:
        """Queue jobs, of which at most `parallel` run at once."""
        if not jobs:
            return
        try:
            with self._changed:
                if self._thread is None or sys.is_finalizing():
                    self._thread = self._start()
                self._calls.append(_Call(jobs, parallel))
                self._changed.notify()
        except BaseException as error:
            for job in jobs:
                job.fail(error)
            raise

    def _start(self) -> threading.Thread:
        if sys.is_finalizing():
            raise InvalidArgument("batch", "cannot begin: the interpreter is ending; generate() still works")
        # A daemon: leaving the program does not wait for answers that nobody will read.
        thread = threading.Thread(target=self._run, name="flyball-batch", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            what = f"cannot be started, so answers cannot be computed together: {error}"
            raise OutOfMemory("thread", what) from None
        return thread

    def refuse_own_thread(self) -> None:
        """Raise InvalidArgument where a logits processor of this batch would wait for the batch."""
        if threading.current_thread() is self._thread:
            raise InvalidArgument("batch", "waits for this logits processor, which cannot wait for it; use generate()")

    def _run(self) -> None:
        running: list[tuple[_Call, Job]] = []
        try:
            while self._join(running):
                self._step(running)
        except BaseException as error:  # nobody may wait for a thread that has ended
            with self._changed:
                calls, self._calls, self._thread = self._calls, deque(), None
            for job in [job for _, job in running] + [job for call in calls for job in call.waiting]:
                job.fail(error)
            raise

    def _join(self, running: list[tuple[_Call, Job]]) -> bool:
        """Begin waiting jobs, where there is room; False if there has been nothing to do for a while."""
        with self._changed:
            if not running:
                self._changed.wait_for(lambda: self._calls or not self._idle_seconds, self._idle_seconds)
                if not self._calls:
                    self._thread = None
                    return False
            joining = self._next_jobs(self.parallel - len(running))
        for call, job in joining:
            if job.begin():
                running.append((call, job))
            else:
                call.room += 1
        return True

    def _next_jobs(self, room: int) -> list[tuple[_Call, Job]]:
        """Up to `room` waiting jobs, one of each call in turn: a long call does not hold up a short one."""
        taken: list[tuple[_Call, Job]] = []
        full = 0
        while full < len(self._calls) and len(taken) < room:
            call = self._calls.popleft()
            full += 1
            if call.room:
                taken.append((call, call.waiting.popleft()))
                call.room -= 1
                full = 0
            if call.waiting:
                self._calls.append(call)
        return taken

    def _step(self, running: list[tuple[_Call, Job]]) -> None:
        if not running:
            return
        self.working_since = time.monotonic()
        patient = all(job.on_piece is None for _, job in running)
        steps: Sequence[tuple[int | None, float, str, bool] | BaseException]
        try:
            steps = _core.step_many([job.core for _, job in running], _STEPS_NS if patient else 0)
        except Exception as error:  # the call itself failed, and with it all jobs
            steps = [error] * len(running)
        going_on = []
        for (call, job), step in zip(running, steps, strict=True):
            if job.take(step):
                call.room += 1
            else:
                going_on.append((call, job))
        running[:] = going_on
        if not running:
            self.working_since = None


_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _forget_all() -> None:
    for batcher in list(_batchers):
        batcher._forget()


os.register_at_fork(after_in_child=_forget_all)
