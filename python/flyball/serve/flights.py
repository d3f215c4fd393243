"""Answers in the making, each computed once: who asks the same again joins the one that runs.

A question's request key names its answer (docs/receipts.md), so equal questions of one client have one answer, with
every bit of it; where answers are cached, those of one project. It is taken from there, or computed as long as somebody
waits for it. When the last one leaves, it ends within a step, and its tokens are kept for a while: who asks again, with
the answer's id, soon gets the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from ..engine.results import Piece, Result
from ..errors import VerificationError
from . import constraining
from .failures import Failure
from .queue import Ticket

if TYPE_CHECKING:
    from ..engine.many import Prepared
    from ..response_cache import CachedAnswer
    from .answering import Ask
    from .server import Server

Key = tuple[object, ...]


class Flight:
    """One answer as it is computed, for any number of readers. Times are those of a monotonic clock, or None."""

    def __init__(self, server: Server, ask: Ask, prepared: Prepared, key: Key) -> None:
        self.key = key
        self.ask = ask
        self.prepared = prepared
        self.pieces: list[Piece] = []
        self.result: Result | None = None
        self.known: CachedAnswer | None = None  # what it was before, where it is given again
        self.is_kept = False  # to be given again
        self.error: BaseException | None = None
        self.asked = time.monotonic()
        self.begun: float | None = None
        self.n_readers = 0
        self.is_cut = False
        self._server = server
        self._began = asyncio.Event()
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.result is not None or self.error is not None

    @property
    def size(self) -> int:
        """Tokens that it holds, those that were asked for beside its own among them."""
        return len(self.pieces) * (1 + int(self.ask.options.get("top_logprobs", 0)))

    def is_behind(self, ask: Ask) -> bool:
        """Whether it still waits, behind others that this question comes before."""
        return self.begun is None and not self.is_over and self.ask.priority < ask.priority

    async def until_begun(self) -> None:
        """Wait for its turn; raises what went wrong before."""
        await self._began.wait()
        if self.error is not None and not self.pieces:
            raise self.error

    async def read(self) -> AsyncIterator[Piece]:
        """All pieces, those that were there before as well; raises what ended it early."""
        n = 0
        while True:
            while n < len(self.pieces):
                n += 1
                yield self.pieces[n - 1]
            if self.is_over:
                break
            changed = self._changed
            await changed.wait()
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._task.cancel()

    def cut(self) -> None:
        """The server ends: its readers get a Failure."""
        self.is_cut = True
        self._task.cancel()

    async def _run(self) -> None:
        ask, server = self.ask, self._server
        if server.responses.serves(ask):
            self.known = await server.responses.find(ask, self.prepared)
        if self.known is not None:
            self.begun = ask.served.used = time.monotonic()
            self.pieces += self.known.pieces
            self.result = self.prepared.given_again(self.known.receipt, self.pieces, self.known.cached_tokens)
            return
        tokens = ask.most_tokens
        ticket = Ticket(ask.client, ask.priority, tokens, int(tokens * ask.served.cache_bytes_per_token))
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(ask.deadline):
                    await turn.enter_async_context(server.queue.turn(ticket))
            except TimeoutError:
                raise Failure(503, "the deadline passed while the request waited", code="deadline") from None
            self.begun = ask.served.used = time.monotonic()
            ask.served.n_running += 1
            self._began.set()
            try:
                await self._compute(server.partials.take(ask.id) if ask.resumable else [])
            finally:
                ask.served.n_running -= 1
                ask.served.used = time.monotonic()

    async def _compute(self, known: list[int]) -> None:
        ask = self.ask
        remaining = None if ask.deadline is None else max(0.0, ask.deadline - (time.monotonic() - self.asked))
        await constraining.ready(ask)
        ended = asyncio.Event()
        future = self.prepared.submit(
            partial(self._take, ended),
            known=known,
            deadline=remaining,
            prefix_root=self._server.prefix_root(ask.project),
        )
        try:
            await ended.wait()
            self.result = future.result()
        except VerificationError:
            # What was kept is not this answer's: somebody changed it. The answer is computed without it.
            self._server.observe.n_known_refused += 1
            self._server.partials.forget(ask.id)
            self.pieces.clear()
            await self._compute([])
        finally:
            future.cancel()

    def _take(self, ended: asyncio.Event, piece: Piece | None) -> None:
        if piece is None:
            ended.set()
        if piece is None or self.is_over:
            return
        self.pieces.append(piece)
        if self.ask.resumable and piece.token is not None:
            self._server.partials.note(self.ask.id, len(self.pieces), piece.token)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.error = self._server.ending() if self.is_cut else Failure(503, "the answer was ended", code="canceled")
        elif (error := task.exception()) is not None:
            self.error = error
        self._began.set()
        self._wake()
        self._server.flights.ended(self)


class Flights:
    """The answers in the making of a server, and the latest ones that clients may ask for once more."""

    def __init__(self, server: Server, most_kept: int = 256, most_kept_tokens: int = 1 << 20) -> None:
        self._server = server
        self._flying: dict[Key, Flight] = {}
        self._kept: OrderedDict[Key, Flight] = OrderedDict()
        self._kept_tokens = 0
        self._most_kept = most_kept
        self._most_kept_tokens = most_kept_tokens
        self._keys: OrderedDict[tuple[str, str], str] = OrderedDict()  # (client, Idempotency-Key) -> request key

    @property
    def flying(self) -> list[Flight]:
        """Those that run or wait."""
        return list(self._flying.values())

    def join(self, ask: Ask, prepared: Prepared) -> Flight:
        """The answer to this question: one that is computed already, or a new one. leave() it."""
        key = self._key(ask, prepared)
        flight = self._flying.get(key) or self._kept.get(key)
        if flight is None or flight.is_behind(ask):
            flight = self._flying[key] = Flight(self._server, ask, prepared, key)
        flight.n_readers += 1
        return flight

    def leave(self, flight: Flight) -> None:
        """A reader needs it no more."""
        flight.n_readers -= 1
        if not flight.n_readers and not flight.is_over:
            self._forget(flight)  # whoever asks from now on begins anew
            flight.end()

    def ended(self, flight: Flight) -> None:
        """It is over: keep it for those who may not have got all of it."""
        self._forget(flight)
        if flight.result is None or not flight.ask.resumable:
            return
        self._server.partials.forget(flight.ask.id)
        self._kept[flight.key] = flight
        self._kept_tokens += flight.size
        while len(self._kept) > self._most_kept or self._kept_tokens > self._most_kept_tokens:
            _, oldest = self._kept.popitem(last=False)
            self._kept_tokens -= oldest.size

    def _forget(self, flight: Flight) -> None:
        if self._flying.get(flight.key) is flight:
            del self._flying[flight.key]

    def _key(self, ask: Ask, prepared: Prepared) -> Key:
        """Questions with one key have one answer. Time may end an answer with a deadline: nobody else's is the same.

        Whose questions may share one: a client's, and where the project has a cache of answers, the project's.
        """
        if ask.deadline is not None:
            return (object(),)
        request = prepared.request_key
        if ask.idempotency_key:
            self._check_same(ask.client, ask.idempotency_key, request)
        whose = ("project", ask.project) if self._server.responses.serves(ask) else ("client", ask.client)
        return (*whose, request, ask.options.get("top_logprobs", 0), ask.id if ask.resumable else "")

    def _check_same(self, client: str, key: str, request: str) -> None:
        known = self._keys.setdefault((client, key), request)
        self._keys.move_to_end((client, key))
        if known != request:
            what = "names another request: a key is for one question, and for its repetitions"
            raise Failure(422, f"Idempotency-Key {key!r} {what}", param="Idempotency-Key", code="idempotency_mismatch")
        while len(self._keys) > _MOST_KEYS:
            self._keys.popitem(last=False)


_MOST_KEYS = 8192
