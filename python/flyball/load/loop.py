"""An event loop whose timers are as exact as the system's."""

from __future__ import annotations

import asyncio
import gc
import select
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_FOR_SELECT = 1024  # descriptors that select() can wait for
_COLLECT_AFTER = 50_000


class Selector(selectors.EpollSelector):
    """Waits to the microsecond: epoll alone rounds up to the next millisecond, by which every arrival would be late."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As EpollSelector's."""
        if timeout is not None and timeout > 0 and self.fileno() < _MOST_FOR_SELECT:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run(), for a program that must be on time."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner, _seldom_collecting():
        return runner.run(main)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """What was made before is never looked at again: a full collection of it would take several arrivals' time."""
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
