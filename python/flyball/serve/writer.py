"""What can wait for a disk: done by one thread in the order in which it came, and stored some of it at a time.

A transaction costs milliseconds for its disk, however much is in it. So the thread gathers for a moment what servers
tell of their answers, and stores it together. A crash loses what that moment had.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from ..store import Store

Work = Callable[[], object]
_GATHER_SECONDS = 0.05
_MOST_TOGETHER = 256  # in one transaction, also where more comes without end


class Writer:
    """The thread. `failed` is told in it of each piece of work that raised; the others go on."""

    def __init__(self, store: Store | None, failed: Callable[[Exception], None]) -> None:
        self._store = store
        self._failed = failed
        self._due: deque[tuple[Work, bool]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._hurry = threading.Event()
        self._waiting: list[threading.Event] = []  # of those who wait until all is done
        self._thread: threading.Thread | None = None

    def do(self, work: Work) -> None:
        """Have it done soon. Once closed, nothing is."""
        self._put(work, False)

    def put_in_store(self, work: Work) -> None:
        """The same in a transaction with others: it must do nothing but store, for it may be repeated."""
        self._put(work, True)

    def settle(self) -> None:
        """Wait until all that was given before is done."""
        done = threading.Event()
        with self._changed:
            if self._thread is None or self._is_closing:
                return
            self._waiting.append(done)
            self._hurry.set()
            self._changed.notify()
        done.wait()

    def close(self) -> None:
        """Do what is left, and end."""
        with self._changed:
            self._is_closing = True
            self._hurry.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _put(self, work: Work, stores: bool) -> None:
        with self._changed:
            if self._is_closing and threading.current_thread() is not self._thread:
                return
            self._due.append((work, stores))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flyball-records", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._waiting or self._is_closing)
            self._hurry.wait(_GATHER_SECONDS)
            with self._changed:
                waiting, self._waiting, is_last = self._waiting, [], self._is_closing
                self._hurry.clear()
            while self._due:
                self._do_some()
            for done in waiting:
                done.set()
            if is_last:
                return

    def _do_some(self) -> None:
        stores: list[Work] = []
        while self._due and len(stores) < _MOST_TOGETHER:  # what is done may have something to store
            work, is_stored = self._due.popleft()
            if is_stored:
                stores.append(work)
            else:
                self._attempt(work)
        try:
            self._transact(stores)
        except Exception:  # of one of them, or of the database: each alone, so that only what must fails
            for work in stores:
                self._attempt(work)

    def _transact(self, stores: Sequence[Work]) -> None:
        if not stores:
            return
        assert self._store is not None
        with self._store.together():
            for work in stores:
                work()

    def _attempt(self, work: Work) -> None:
        try:
            work()
        except Exception as error:  # a defect, too, must not end the thread
            self._failed(error)
