"""A streamed chat answer: when its pieces came, and how many tokens it has."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from .wire import Connection


@dataclass
class Answer:
    """When a request's parts came, in seconds on the caller's clock."""

    asked: float
    pieces: list[float] = field(default_factory=list)
    ended: float = 0.0
    n_tokens: int = 0
    error: str = ""

    @property
    def first(self) -> float:
        """Seconds to the first piece."""
        return self.pieces[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        """Seconds between pieces."""
        return [after - before for before, after in pairwise(self.pieces)]

    @property
    def per_token(self) -> float | None:
        """Seconds for each token after the first; None where there is no second one."""
        n = self.n_tokens or len(self.pieces)
        return (self.pieces[-1] - self.pieces[0]) / (n - 1) if n > 1 and self.pieces else None


async def read_answer(connection: Connection, answer: Answer, clock: Callable[[], float]) -> None:
    """Read the events of a chat completion into `answer`. Raises ValueError for what is no such event."""
    async for event in connection.events():
        now = clock()
        if not isinstance(event, dict):
            raise ValueError(f"an event is no object: {json.dumps(event)[:80]}")
        if "error" in event:
            answer.error = json.dumps(event["error"])[:200]
        try:
            for choice in event.get("choices", ()):
                if choice["delta"].get("content") or choice["delta"].get("reasoning_content"):
                    answer.pieces.append(now)
            if event.get("usage"):
                answer.n_tokens = int(event["usage"]["completion_tokens"])
        except (KeyError, TypeError, AttributeError):
            raise ValueError(f"an event is none of a chat completion: {json.dumps(event)[:80]}") from None
