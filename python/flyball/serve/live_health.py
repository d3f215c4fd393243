"""Whether a server does worse since a change of its settings: a state machine over what it has done so far.

Only what the server itself fails at counts. What it refuses, as a limit says or as a client asks wrongly, does not: who
may merely ask could undo changes by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..evidence.limits import MISSES
from ..evidence.stats import wilson_interval

if TYPE_CHECKING:
    from .server import Server

FEWEST = 10  # requests of which a share says something
_CONFIDENCE = 0.95
_MOST_QUIET = 10.0  # seconds without any progress; less in a short window
_QUIET_SHARE = 3  # of the window
_OWN_FAULTS = ("defect", "unavailable", "memory")  # why the server could not answer


class Seen(NamedTuple):
    """What a server has done since its start, and does now.

    n_answered, n_failed  requests; marks: changes with each token and each step; n_waiting: requests in the queue
    step_seconds  age of the oldest running step, which may be so old: most_step_seconds
    """

    n_answered: int
    n_failed: int
    marks: tuple[object, ...]
    n_waiting: int
    step_seconds: float
    most_step_seconds: float


def seen_of(server: Server) -> Seen:
    """What a server has done so far."""
    observe = server.observe
    n_failed = observe.total("failed") + sum(observe.refusals[each] for each in _OWN_FAULTS)
    names = list(observe.models)
    n_tokens = sum(observe.models[name].generated_tokens + observe.running_tokens(name) for name in names)
    steps = tuple(served.model.working_since for served in server.models)
    age = max((age for _, age in server.step_ages()), default=0.0)
    n_answered = observe.total("finished")
    return Seen(
        n_answered,
        n_failed,
        (n_answered, n_failed, n_tokens, steps),
        server.queue.n_waiting,
        age,
        server.settings.stall_seconds,
    )


class Window:
    """The time after a change in which it may be found out to harm. Times: seconds on a monotonic clock."""

    def __init__(self, seconds: float, before: Seen, now: float) -> None:
        self._end = now + seconds
        self._quiet_seconds = min(_MOST_QUIET, seconds / _QUIET_SHARE)
        self._before = before
        self._latest = before
        self._progress = now

    def is_over(self, now: float) -> bool:
        """Whether the change has shown itself harmless."""
        return now >= self._end

    def fault(self, seen: Seen, now: float) -> str:
        """What is wrong since the change; "": nothing that can be told."""
        if seen.marks != self._latest.marks or not seen.n_waiting:
            self._progress = now
        self._latest = seen
        most = min(seen.most_step_seconds, self._quiet_seconds)
        if seen.step_seconds > most:
            return f"a step takes {seen.step_seconds:.1f} s, more than {most:.1f}"
        if (quiet := now - self._progress) > self._quiet_seconds:
            return f"{seen.n_waiting} requests wait, and for {quiet:.1f} s nothing was computed"
        return self._failures(seen)

    def _failures(self, seen: Seen) -> str:
        n_failed = seen.n_failed - self._before.n_failed
        n = n_failed + seen.n_answered - self._before.n_answered
        n_before = self._before.n_failed + self._before.n_answered
        most = max(MISSES, self._before.n_failed / n_before if n_before else 0.0)
        if n < FEWEST or wilson_interval(n_failed, n, _CONFIDENCE)[0] <= most:
            return ""
        return f"{n_failed} of {n} requests failed, surely more than {most:.0%} of them"
