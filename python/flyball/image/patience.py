"""A time limit against hanging that a busy machine does not use up."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from ..errors import InvalidArgument


class Patience:
    """Seconds that a process may take, without those in which it waited for a processor.

    Linux counts these per thread (second number of /proc/PID/task/TID/schedstat, in nanoseconds); of several threads
    the longest wait counts. Where it does not, all time counts.
    """

    def __init__(self, pid: int, seconds: float):
        if not seconds > 0:  # nan too, which no time would ever reach
            raise InvalidArgument("timeout", f"is {seconds:g}, must be above 0 seconds")
        self.seconds = seconds
        self._threads = Path(f"/proc/{pid}/task")
        self._start = time.monotonic()
        self._waited = 0.0

    def elapsed(self) -> float:
        """Seconds since the start, all of them."""
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds that are left; at most 0 when the limit is reached."""
        with suppress(OSError):  # the process has ended
            for thread in self._threads.iterdir():
                with suppress(OSError, ValueError, IndexError):  # a thread has ended, or a kernel that does not count
                    waited = int((thread / "schedstat").read_text().split()[1])
                    self._waited = max(self._waited, waited / 1e9)
        return self.seconds - (self.elapsed() - self._waited)
