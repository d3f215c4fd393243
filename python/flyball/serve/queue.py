"""Admission: how many answers run, how many requests wait, and whose turn is next.

A request is refused at once (429) where too many wait, or where their tokens are too many: before its prompt is made,
for a refusal must cost nothing. Among those that wait, higher priorities go first; within one, the client with the
fewest running answers, then the one that was served longest ago. So a client with many requests delays its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .failures import Failure

_RETRY_SECONDS = 2
_MOST_CLIENTS = 4096  # whose last turn is remembered


@dataclass(eq=False)
class Ticket:
    """A request's place. `tokens` and `cache_bytes`: of prompt and answer, at most. `since`: on the monotonic clock."""

    client: str
    priority: int = 0
    tokens: int = 0
    cache_bytes: int = 0
    since: float = field(default_factory=time.monotonic)
    turn: asyncio.Future[None] | None = field(default=None, repr=False)
    taken: bool = False  # out of its line
    admitted: bool = False


class Queue:
    """The tickets of a server: for the event loop's thread alone."""

    def __init__(self, parallel: int, waiting: int, waiting_tokens: int, cache_bytes: int) -> None:
        self._parallel = parallel
        self._most_waiting = waiting
        self._most_tokens = waiting_tokens
        self._cache_limit = cache_bytes
        self._waiting: dict[int, dict[str, deque[Ticket]]] = {}  # by priority, then by client
        self._running: dict[str, int] = {}
        self._turns: dict[str, int] = {}  # the number of a client's last turn
        self._n_turns = 0
        self.n_waiting = 0
        self.waiting_tokens = 0
        self.n_running = 0
        self.cache_bytes = 0

    def limit(self, parallel: int, waiting: int, waiting_tokens: int, cache_bytes: int) -> None:
        """Other bounds from now on. What runs and waits stays, but for what would wait forever for its room."""
        self._parallel = parallel
        self._most_waiting = waiting
        self._most_tokens = waiting_tokens
        self._cache_limit = cache_bytes
        for ticket in [each for each in self._lines() if each.cache_bytes > cache_bytes]:
            self._refuse(ticket, self._too_large(ticket))
        self._admit()

    @property
    def cache_limit(self) -> int:
        """Bytes that running answers may have for keys and values."""
        return self._cache_limit

    @property
    def share_waiting(self) -> float:
        """Of the requests, or of their tokens, that may wait: the larger share."""
        return max(_share(self.n_waiting, self._most_waiting), _share(self.waiting_tokens, self._most_tokens))

    def oldest_age(self) -> float:
        """Seconds that the request has waited that has waited longest; 0: none waits."""
        now = time.monotonic()
        return max((now - ticket.since for ticket in self._lines()), default=0.0)

    @property
    def most_waiting(self) -> int:
        """Requests that may wait."""
        return self._most_waiting

    @property
    def most_tokens(self) -> int:
        """Tokens that waiting requests may have."""
        return self._most_tokens

    def refuse_if_full(self, tokens: int) -> None:
        """Raise Failure 429 if no further request may wait."""
        room = self.n_running < self._parallel and not self.n_waiting
        if not room and self.n_waiting >= self._most_waiting:
            raise self._full(f"{self.n_waiting} requests wait already")
        if self.n_waiting and self.waiting_tokens + tokens > self._most_tokens:
            raise self._full(f"the waiting requests have {self.waiting_tokens} tokens already")

    def _full(self, why: str) -> Failure:
        return Failure(
            429, f"the server is busy: {why}; try again", code="busy", headers={"retry-after": str(_RETRY_SECONDS)}
        )

    def _too_large(self, ticket: Ticket) -> Failure:
        return Failure(
            400,
            f"prompt and answer need {ticket.cache_bytes >> 20} MiB of keys and values, the server allows"
            f" {self._cache_limit >> 20} (serve.cache_mb): ask for fewer tokens",
            param="max_tokens",
        )

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait for the ticket's turn; the answer runs inside. Leaving it gives the place back."""
        if ticket.cache_bytes > self._cache_limit:
            raise self._too_large(ticket)
        self.refuse_if_full(ticket.tokens)
        await self._wait(ticket)
        try:
            yield
        finally:
            self._leave(ticket)

    def refuse_all(self, failure: Failure) -> None:
        """End the waiting of all tickets."""
        for ticket in list(self._lines()):
            self._refuse(ticket, failure)

    def _refuse(self, ticket: Ticket, failure: Failure) -> None:
        self._take(ticket)
        if ticket.turn is not None and not ticket.turn.done():
            ticket.turn.set_exception(failure)

    def _lines(self) -> Iterator[Ticket]:
        return (ticket for clients in self._waiting.values() for line in clients.values() for ticket in line)

    async def _wait(self, ticket: Ticket) -> None:
        ticket.turn = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(ticket.priority, {}).setdefault(ticket.client, deque())
        line.append(ticket)
        self.n_waiting += 1
        self.waiting_tokens += ticket.tokens
        self._admit()
        try:
            await ticket.turn
        except asyncio.CancelledError:
            if ticket.admitted:
                self._leave(ticket)
            elif not ticket.taken:
                self._take(ticket)
                self._admit()  # it may have been too large for what is left, and kept others behind it
            raise

    def _take(self, ticket: Ticket) -> None:
        """Out of its line."""
        clients = self._waiting[ticket.priority]
        line = clients[ticket.client]
        line.remove(ticket)
        ticket.taken = True
        if not line:
            del clients[ticket.client]
        if not clients:
            del self._waiting[ticket.priority]
        self.n_waiting -= 1
        self.waiting_tokens -= ticket.tokens

    def _leave(self, ticket: Ticket) -> None:
        self.n_running -= 1
        self.cache_bytes -= ticket.cache_bytes
        self._running[ticket.client] -= 1
        if not self._running[ticket.client]:
            del self._running[ticket.client]
        self._admit()

    def _note_turn(self, client: str) -> None:
        self._n_turns += 1
        self._turns.pop(client, None)
        self._turns[client] = self._n_turns  # the last one, so that the first one is the oldest
        if len(self._turns) > _MOST_CLIENTS:
            del self._turns[next(iter(self._turns))]

    def _admit(self) -> None:
        """Begin what has room. The next one that is too large waits for its room, and nobody overtakes it."""
        while self.n_running < self._parallel and self._waiting:
            priority = max(self._waiting)
            clients = self._waiting[priority]
            client = min(clients, key=lambda name: (self._running.get(name, 0), self._turns.get(name, 0)))
            ticket = clients[client][0]
            if self.cache_bytes + ticket.cache_bytes > self._cache_limit:
                return
            self._take(ticket)
            ticket.admitted = True
            self.n_running += 1
            self.cache_bytes += ticket.cache_bytes
            self._running[client] = self._running.get(client, 0) + 1
            self._note_turn(client)
            if ticket.turn is not None and not ticket.turn.cancelled():  # else _wait() gives the place back
                ticket.turn.set_result(None)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float(part > 0)
