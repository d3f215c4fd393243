"""One question and its answer as it is computed: from the queue to the engine, and back piece by piece."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..answers.parts import Delta
from ..engine.options import random_seed
from ..engine.results import Piece, Result
from ..errors import Error
from .failures import Failure, context_full
from .queue import Ticket

if TYPE_CHECKING:
    from ..answers.parser import AnswerParser
    from .models import Served
    from .server import Server


@dataclass(frozen=True)
class Ask:
    """A checked question: what generate() gets, and who asks.

    parser  makes the reader of a chat's answer; None: the text is the answer
    id      the answer's, without the prefix that its API gives it
    """

    served: Served
    prompt: Sequence[int]
    max_tokens: int
    options: dict[str, Any]
    client: str
    api: str
    parser: Callable[[], AnswerParser] | None = None
    priority: int = 0
    deadline: float | None = None  # seconds from now, for queue and answer together
    id: str = field(default_factory=lambda: secrets.token_hex(12))

    def with_seed(self, seed: int | None) -> Ask:
        """The same with another seed; None: a random one, chosen here so that the answer can tell it."""
        from dataclasses import replace

        seed = random_seed() if seed is None else seed
        return replace(self, options=self.options | {"seed": seed}, id=secrets.token_hex(12))


@dataclass(frozen=True)
class Part:
    """A step: what the engine gave, and what it adds to a chat's answer. The last one may have no piece."""

    piece: Piece | None
    deltas: tuple[Delta, ...] = ()


@dataclass
class Times:
    """When an answer came (seconds on a monotonic clock); None: not yet."""

    asked: float = field(default_factory=time.monotonic)
    begun: float | None = None
    first: float | None = None
    last: float | None = None
    ended: float | None = None


class Answering:
    """Computes one answer: `async with Answering(...) as answer: async for part in answer`.

    Entering checks the question, and waits for its turn. Leaving ends the answer within a step, wherever it is: in the
    queue, in its prompt, in its tokens.
    """

    def __init__(self, server: Server, ask: Ask) -> None:
        self.ask = ask
        self.times = Times()
        self.parser = ask.parser() if ask.parser else None
        self._server = server
        self._result: Result | None = None
        self._is_cut = False
        self._left = AsyncExitStack()

    @property
    def result(self) -> Result:
        """The whole answer, once all parts were taken."""
        assert self._result is not None
        return self._result

    async def __aenter__(self) -> Answering:
        ask, server = self.ask, self._server
        check(ask)
        server.refuse_if_draining()
        tokens = len(ask.prompt) + min(ask.max_tokens, max(ask.served.context - len(ask.prompt), 1))
        ticket = Ticket(ask.client, ask.priority, tokens, int(tokens * ask.served.cache_bytes_per_token))
        try:
            async with asyncio.timeout(ask.deadline):
                await self._left.enter_async_context(server.queue.turn(ticket))
        except TimeoutError:
            raise Failure(503, "the deadline passed while the request waited", code="deadline") from None
        self.times.begun = ask.served.used = time.monotonic()
        ask.served.n_running += 1
        self._left.callback(self._unused)
        server.observe.begun(self)
        try:
            options = dict(ask.options)
            if ask.deadline is not None:
                options["deadline"] = max(0.0, ask.deadline - (self.times.begun - self.times.asked))
            self._stream = ask.served.model.astream(list(ask.prompt), ask.max_tokens, **options)
            await self._left.enter_async_context(self._stream)
            server.running.add(self)
        except BaseException:
            await self._leave()
            raise
        return self

    def _unused(self) -> None:
        self.ask.served.n_running -= 1
        self.ask.served.used = time.monotonic()

    def cut(self) -> None:
        """End the answer now: who takes its parts gets a Failure."""
        self._is_cut = True
        self._stream.end()

    async def __aexit__(self, *exception: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self.times.ended = time.monotonic()
        self._server.running.discard(self)
        self._server.observe.ended(self, self._result)
        await self._left.aclose()

    async def __aiter__(self) -> AsyncIterator[Part]:
        async for piece in self._stream:
            if piece.token is not None:
                self.times.last = time.monotonic()
                self.times.first = self.times.first or self.times.last
            yield Part(piece, tuple(self.parser.feed(piece.token, piece.text)) if self.parser else ())
        if self._is_cut:
            raise self._server.ending()
        self._result = self._stream.result
        self._server.records.keep(self, self._result)
        if self.parser and (rest := tuple(self.parser.finish())):
            yield Part(None, rest)

    async def whole(self) -> Result:
        """Take all parts; the Result."""
        async for _ in self:
            pass
        return self.result


def check(ask: Ask) -> None:
    """Raise the Failure of a question that cannot be answered, before anything is computed or waited for."""
    context = ask.served.context
    if len(ask.prompt) > context:
        raise context_full(len(ask.prompt), context)
    try:
        ask.served.model.check(ask.prompt, ask.max_tokens, **ask.options)
    except Error as error:
        raise Failure.of(error) from None
