"""One question and its answer: checked, computed with others, and read piece by piece."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..answers.parts import Delta
from ..engine.adapter import Adapter
from ..engine.options import random_seed
from ..engine.results import Piece, Result
from ..errors import Error
from .failures import Failure, context_full
from .flights import Flight

if TYPE_CHECKING:
    from ..answers.parser import AnswerParser
    from ..engine.many import Prepared
    from ..response_cache import CachedAnswer
    from .models import Served
    from .quotas import Reservation
    from .routing import Routed
    from .server import Server


@dataclass(frozen=True)
class Ask:
    """A checked question: what generate() gets, and who asks.

    parser     makes the reader of a chat's answer; None: the text is the answer
    id         the answer's, without the prefix that its API gives it
    resumable  the client may come back for the rest of it
    cacheable  its answer may be one that was given before, and may be given again
    caching    whether it was: hit, miss or off, for each answer to one request (caching.py)
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
    idempotency_key: str = ""
    resumable: bool = False
    project: str = "default"
    cacheable: bool = True
    caching: list[str] = field(default_factory=list, repr=False, compare=False)
    trace: Mapping[str, str] = field(default_factory=dict, repr=False)  # the request's headers of W3C trace context
    routed: Routed | None = field(default=None, repr=False)  # the route that led to the model
    arm: str | None = None  # its side, where a canary is compared: canary or control
    adapter_fault: str = ""  # why it has no adapter although one is active
    told: list[int] | None = field(default=None, repr=False, compare=False)  # gets the answer's tokens as they come
    memory: tuple[str, ...] | None = None  # ids of what its prompt got of the user's memory; None: it asked for none

    @property
    def adapter(self) -> str | None:
        """The digest of its adapter."""
        adapter = self.options.get("adapter")
        return adapter.fingerprint if isinstance(adapter, Adapter) else None

    @property
    def most_tokens(self) -> int:
        """Of the prompt and the longest answer."""
        return len(self.prompt) + min(self.max_tokens, max(self.served.context - len(self.prompt), 1))

    def with_seed(self, seed: int | None) -> Ask:
        """The same with this seed; None: a random one, chosen here so that the answer can tell it."""
        return replace(self, options=self.options | {"seed": random_seed() if seed is None else seed})


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
    tokens: list[float] = field(default_factory=list)  # when each came
    ended: float | None = None


class Answering:
    """Reads one answer: `async with Answering(...) as answer: async for part in answer`.

    Entering checks the question, and waits for its turn. Leaving ends the answer within a step, wherever it is (in the
    queue, in its prompt, in its tokens), unless somebody else waits for the same.
    """

    def __init__(self, server: Server, ask: Ask) -> None:
        self.ask = ask
        self.times = Times()
        self.parser = ask.parser() if ask.parser else None
        self._server = server
        self._flight: Flight | None = None
        self._reserved: Reservation | None = None

    @property
    def known(self) -> CachedAnswer | None:
        """What the answer was before, where it is given again."""
        return None if self._flight is None else self._flight.known

    @property
    def request_key(self) -> str:
        """Of its question."""
        assert self._flight is not None
        return self._flight.prepared.request_key

    @property
    def receipt_id(self) -> str:
        """Of an answer that is given again the first one's."""
        return self.ask.id if self.known is None else self.known.id

    @property
    def result(self) -> Result:
        """The whole answer, once all parts were taken."""
        assert self._flight is not None
        assert self._flight.result is not None
        return self._flight.result

    async def __aenter__(self) -> Answering:
        prepared = prepare(self.ask)
        self._server.refuse_if_draining()
        self._reserved = await self._server.quotas.reserve(self.ask.project, self.ask.most_tokens)
        try:
            self._flight = self._server.flights.join(self.ask, prepared)
            await self._flight.until_begun()
        except BaseException as error:
            self._leave(error)
            raise
        self.times.begun = max(self.times.asked, self._flight.begun or 0.0)  # it may have begun for others before
        self._server.observe.begun(self)
        self._server.records.begun(self)
        self._server.responses.begun(self, prepared)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        if self._reserved is not None:
            self._reserved.settle(0 if self.times.begun is None else len(self.ask.prompt) + len(self.times.tokens))
        if self._flight is None:
            return
        self.times.ended = time.monotonic()
        result = self._flight.result
        self._server.observe.ended(self, result, error)
        if self.times.begun is not None:
            self._server.records.ended(self, result, self._flight.error)
            self._server.plugins.feeds.finished(self, result)
        if self.ask.routed is not None:
            self.ask.routed.ended(result, self._flight.error)
            if result is not None and error is None:
                self._server.guarding.ended(self)
        self._server.flights.leave(self._flight)

    async def __aiter__(self) -> AsyncIterator[Part]:
        assert self._flight is not None
        tokens = self.times.tokens
        async for piece in self._flight.read():
            if piece.token is not None:
                tokens.append(time.monotonic())
                if len(tokens) == 1:
                    self._server.observe.first(self)
                if self.ask.told is not None:
                    self.ask.told.append(piece.token)
            yield Part(piece, tuple(self.parser.feed(piece.token, piece.text)) if self.parser else ())
        self._keep(self._flight)
        if self.parser and (rest := tuple(self.parser.finish())):
            yield Part(None, rest)

    def _keep(self, flight: Flight) -> None:
        if flight.known is not None:
            self._server.records.keep_again(self, flight.known)
            return
        self._server.records.keep(self, self.result)
        self._server.responses.keep(self.ask, flight)

    async def whole(self) -> Result:
        """Take all parts; the Result."""
        async for _ in self:
            pass
        return self.result


def prepare(ask: Ask) -> Prepared:
    """Check a question before anything is computed or waited for; Failure for one that cannot be answered."""
    context = ask.served.context
    if len(ask.prompt) > context:
        raise context_full(len(ask.prompt), context)
    try:
        return ask.served.model.prepare(ask.prompt, ask.max_tokens, **ask.options)
    except Error as error:
        raise Failure.of(error) from None
