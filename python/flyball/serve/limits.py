"""Limits that a server is judged by: GO, WATCH or NO-GO. What has not been seen never counts as good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..evidence.limits import MISSES, TURN_MS
from .observing import percentile

if TYPE_CHECKING:
    from .server import Server
    from .settings import ServeSettings

GO, WATCH, NO_GO = "GO", "WATCH", "NO-GO"
FEWEST = 20  # answers: of fewer, the 95th percentile is the largest, and one failure more than the limit


@dataclass(frozen=True)
class Limit:
    """Above `watch`: WATCH, above `limit`: NO-GO. `measure`: the value, None: none; and over how many answers.

    `of`: whose limit it is: that of the pilot's turns, of service levels, or of this server alone.
    """

    name: str
    watch: float
    limit: float
    measure: Callable[[Server], tuple[float | None, int]]
    why: str
    of: Literal["pilot", "slo", "server"] = "server"

    def judged(self, server: Server) -> dict[str, Any]:
        """{"name", "value", "watch", "limit", "of", "state"}"""
        value, n = self.measure(server)
        if value is not None and value > self.limit:
            state = NO_GO
        elif value is None or value > self.watch or n < FEWEST:
            state = WATCH
        else:
            state = GO
        limits = {"watch": self.watch, "limit": self.limit, "of": self.of}
        return {"name": self.name, "value": value, **limits, "state": state}


def _first_token_ms(server: Server) -> tuple[float | None, int]:
    seconds = server.observe.first_token_seconds
    value = percentile(seconds, 0.95)
    return (None if value is None else round(1e3 * value, 2)), len(seconds)


def _failures(server: Server) -> tuple[float | None, int]:
    return server.observe.failed_share


def _queue(server: Server) -> tuple[float | None, int]:
    return server.queue.share_waiting, FEWEST


def _cache(server: Server) -> tuple[float | None, int]:
    queue = server.queue
    return (queue.cache_bytes / queue.cache_limit if queue.cache_limit else 1.0), FEWEST


def _stalled(server: Server) -> tuple[float | None, int]:
    return max((age for _, age in server.step_ages()), default=0.0), FEWEST


def limits_of(settings: ServeSettings) -> tuple[Limit, ...]:
    """The limits of a server with these settings."""
    return (
        Limit(
            "first_token_p95_ms", 1_000, TURN_MS, _first_token_ms,
            "after a second a reader's thoughts stray; a turn of three is what the pilot's users were promised",
            of="pilot",
        ),
        Limit(
            "queue_share", 0.5, 0.9, _queue,
            "of the waiting requests or their tokens that are allowed: at 1, requests are refused",
        ),
        Limit(
            "cache_share", 0.8, 0.95, _cache,
            "of the bytes for keys and values: at 1, answers wait although there are processors for them",
        ),
        Limit(
            "failures_share", 0.0, MISSES, _failures,
            "of the latest answers: each failure is a defect to look at, and one in twenty uses up the error budget",
            of="slo",
        ),
        Limit(
            "stall_seconds", settings.stall_seconds / 4, settings.stall_seconds, _stalled,
            "age of the running step: at serve.stall_seconds, /health answers 503",
        ),
    )  # fmt: skip


def judged(server: Server) -> list[dict[str, Any]]:
    """All limits of a server, as they are now."""
    return [limit.judged(server) for limit in limits_of(server.settings)]
