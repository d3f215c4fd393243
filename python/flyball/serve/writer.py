"""What can wait for a disk: done by one thread in the order in which it came, and stored some of it at a time.

A transaction costs milliseconds for its disk, however much is in it. So the thread gathers for a moment what servers
tell of their answers, and stores it together. A crash loses what that moment had. What a store that does not answer
cannot take waits for it, in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from ..errors import Unavailable
from ..store import Store

Work = Callable[[], object]
_GATHER_SECONDS = 0.05
_MOST_TOGETHER = 256  # in one transaction, also where more comes without end
_MOST_KEPT = 20_000  # that wait for a store that does not answer; the oldest then go
_RETRY_SECONDS = 1.0


class Writer:
    """The thread. `failed` is told in it of each piece of work that raised; the others go on."""

    def __init__(self, store: Store | None, failed: Callable[[Exception], None]) -> None:
        self._store = store
        self._failed = failed
        self._due: deque[tuple[Work, bool]] = deque()
        self._kept: deque[Work] = deque()  # what is to be stored, for the thread alone
        self._retry_at = 0.0  # when a store that does not answer is asked again
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

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until all that was given before is done; False: it was not within so many seconds."""
        done = threading.Event()
        with self._changed:
            if self._thread is None or self._is_closing:
                return True
            self._waiting.append(done)
            self._hurry.set()
            self._changed.notify()
        return done.wait(seconds)

    def close(self) -> None:
        """Do what is left, and end. What a store that does not answer cannot take is lost, and told."""
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
                rest = max(0.0, self._retry_at - time.monotonic()) if self._kept else None
                self._changed.wait_for(lambda: self._due or self._waiting or self._is_closing, rest)
            self._hurry.wait(_GATHER_SECONDS)
            with self._changed:
                waiting, self._waiting, is_last = self._waiting, [], self._is_closing
                self._hurry.clear()
            if self._do_all(is_last):
                for done in waiting:
                    done.set()
            else:
                with self._changed:
                    self._waiting = waiting + self._waiting
            if is_last:
                return

    def _do_all(self, is_last: bool) -> bool:
        """All that is due; False: some of it waits for the store."""
        while self._due or self._kept:
            rests = time.monotonic() < self._retry_at and not is_last
            while self._due and (rests or len(self._kept) < _MOST_TOGETHER):  # what is done may have something to store
                work, is_stored = self._due.popleft()
                self._kept.append(work) if is_stored else self._attempt(work)
            if not rests and self._store_some():
                continue
            while len(self._kept) > (0 if is_last else _MOST_KEPT):
                self._kept.popleft()
                self._failed(Unavailable("store", "has not answered for too long: what was to be stored is lost"))
            if rests:
                return False
        return True

    def _store_some(self) -> bool:
        """In one transaction; if that fails for one of them each alone, so that only what must fails. False: the store
        does not answer, and what it has not taken stays."""
        some = list(islice(self._kept, _MOST_TOGETHER))
        try:
            self._transact(some)
        except Unavailable as error:
            return self._away(error)
        except Exception:
            for work in some:
                try:
                    work()
                except Unavailable as error:
                    return self._away(error)
                except Exception as error:  # a defect, too, must not end the thread
                    self._failed(error)
                self._kept.popleft()
        else:
            for _ in some:
                self._kept.popleft()
        self._retry_at = 0.0
        return True

    def _away(self, error: Unavailable) -> bool:
        if not self._retry_at:  # told once
            self._failed(Unavailable(error.where, f"{error.what}; what is to be stored waits for it"))
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        return False

    def _transact(self, stores: Sequence[Work]) -> None:
        if stores:
            assert self._store is not None
            with self._store.together():
                for work in stores:
                    work()

    def _attempt(self, work: Work) -> None:
        try:
            work()
        except Exception as error:
            self._failed(error)
