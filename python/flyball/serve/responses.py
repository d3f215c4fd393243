"""Answers that a server gives again: when one may be looked for, kept, counted, and computed once more to be sure.

Everything that waits is done in threads. A cache that fails costs nobody an answer: it is computed, the failure is
told once until it is over, and counted.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._cached import cached
from ..engine.adapter import Adapter
from ..engine.results import Piece, Result
from ..engine.verify import report_of
from ..errors import Error, FormatError, Interrupted
from ..response_cache import Answers, CachedAnswer, Place, key_of, open_answers
from ..response_cache.entry import ENDED, may_be_kept
from .caching import HIT, MISS, OFF

if TYPE_CHECKING:
    from ..engine.many import Prepared
    from .answering import Answering, Ask
    from .flights import Flight
    from .server import Server
    from .settings import ServeSettings

REASON = "AUDIT_CACHE_MISMATCH"
_MOST_SAMPLES = 64  # that wait to be computed again
_POLL_SECONDS = 0.05


class Fresh:
    """An answer that was just computed, as it will be kept."""

    def __init__(self, ask: Ask, prepared: Prepared, result: Result, pieces: Sequence[Piece]) -> None:
        self.place = place_of(ask, prepared)
        self._id = ask.id
        self._request_key = prepared.request_key
        self._result = result
        self._pieces = pieces

    @cached
    def content(self) -> bytes | None:
        """None: it is not kept. Takes milliseconds."""
        try:
            if not may_be_kept(self._result, self._request_key):
                return None
            answer = CachedAnswer.of(self._id, self._result, self._pieces)
            return answer.encode(self.place.project, self.place.key)
        except Error:  # too large, or of a model whose file has changed
            return None


@dataclass(frozen=True)
class Sample:
    """An answer that was given again, to be computed once more with its adapters."""

    place: Place
    answer: CachedAnswer
    adapters: tuple[Adapter, ...]


class Responses:
    """The cache of answers of a server: for the event loop's thread alone. `answers` None: it is off."""

    def __init__(self, server: Server, answers: Answers | None, share: float) -> None:
        """`share`: of the answers given again, how many are computed once more."""
        self.answers = answers
        self.counts: Counter[str] = Counter()
        self._server = server
        self._share = share
        self._due: dict[Place, Fresh] = {}  # that the records' thread is about to store
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._sampled = asyncio.Event()
        self._is_failing = False

    @classmethod
    def of(cls, server: Server, settings: ServeSettings) -> Responses:
        """As the settings say. Raises InvalidArgument for a place where nothing can be kept."""
        answers = open_answers(
            settings.response_cache,
            server.records.store,
            settings.response_cache_hours,
            settings.response_cache_bytes,
        )
        return cls(server, answers, settings.response_cache_verify)

    def use(self, settings: ServeSettings) -> None:
        """Go by these settings from now on, in the same place."""
        self._share = settings.response_cache_verify
        if self.answers is not None:
            self.answers.limit(settings.response_cache_hours, settings.response_cache_bytes)

    def serves(self, ask: Ask) -> bool:
        """Whether the answer may be one that was given before, and may be given again: no deadline can end it."""
        return self.answers is not None and ask.cacheable and ask.deadline is None

    async def find(self, ask: Ask, prepared: Prepared) -> CachedAnswer | None:
        """The answer to this question, if it is there."""
        assert self.answers is not None
        place = place_of(ask, prepared)
        try:
            found = await asyncio.to_thread(self._look, self.answers, place, prepared.request_key)
        except FormatError:
            self.counts["broken"] += 1
            self._drop(place)
            return None
        except Error as error:
            self._failed(error)
            return None
        self._is_failing = False
        return found

    def _look(self, answers: Answers, place: Place, request_key: str) -> CachedAnswer | None:
        fresh = self._due.get(place)
        raw = answers.get(place) if fresh is None else fresh.content
        return None if raw is None else CachedAnswer.decode(raw, place.project, place.key, request_key)

    def keep(self, ask: Ask, flight: Flight) -> None:
        """Keep an answer that was computed, under the id of its receipt: that of whoever has taken it first."""
        assert flight.result is not None
        if self.serves(ask) and not flight.is_kept and flight.result.stop_reason in ENDED:
            flight.is_kept = True
            fresh = Fresh(ask, flight.prepared, flight.result, flight.pieces)
            self._due[fresh.place] = fresh
            self._later(lambda answers: self._put(answers, fresh))

    def begun(self, answering: Answering, prepared: Prepared) -> None:
        """Count an answer that begins, and remember that one which was given before was used."""
        caching = answering.ask.caching
        if not self.serves(answering.ask):
            caching.append(OFF)
            return
        if (known := answering.known) is None:
            caching.append(MISS)
            self.counts["misses"] += 1
            return
        caching.append(HIT)
        self.counts.update(hits=1, saved_tokens=known.n_tokens, saved_cycles=known.cycles)
        place = place_of(answering.ask, prepared)
        self._later(lambda answers: answers.touch(place))
        if random.random() < self._share:
            adapter = answering.ask.options.get("adapter")
            self._samples.append(Sample(place, known, (adapter,) if isinstance(adapter, Adapter) else ()))
            self._sampled.set()

    async def purge(self, project: str) -> int:
        """Drop all answers of a project; how many they were."""
        assert self.answers is not None
        await asyncio.to_thread(self._server.records.settle)  # what is about to be stored goes, too
        return await asyncio.to_thread(self.answers.purge, project)

    def tidy(self) -> None:
        """Drop what has expired; to be called now and then."""
        if self.answers is not None:
            self._server.records.later(self.answers.tidy)

    async def run(self) -> None:
        """Compute samples once more while nothing else is to be done, until this is canceled."""
        while True:
            await self._sampled.wait()
            while self._samples:
                while self._server.queue.n_running or self._server.queue.n_waiting:
                    await asyncio.sleep(_POLL_SECONDS)
                await self.verify(self._samples.popleft())
            self._sampled.clear()

    async def verify(self, sample: Sample) -> None:
        """Compute one once more: a mismatch ends its use, and is told."""
        of = sample.answer.receipt.fingerprint
        model = next((served.model for served in self._server.models if served.model.info.fingerprint == of), None)
        if model is None:  # unloaded meanwhile
            return
        async with self._server.side_work:
            try:
                report = await asyncio.to_thread(
                    report_of, sample.answer.receipt, model, self._while_serving, adapters=sample.adapters
                )
            except Error:
                self._server.observe.verified("cached", "undecided")
                return
        if report["verified"]:
            self._server.observe.verified("cached", "verified")
        else:
            self._mismatch(sample, report)

    def _mismatch(self, sample: Sample, report: dict[str, Any]) -> None:
        self._server.observe.verified("cached", "mismatch")
        self._drop(sample.place)
        about = {"id": sample.answer.id, "key": sample.place.key, "message": report["message"]}
        self._server.records.tell(REASON, about)
        what = f"an answer that was given again is not what the model computes, and was dropped: {report['message']}"
        warnings.warn(f"receipt {sample.answer.id}: {what}", RuntimeWarning, stacklevel=2)

    def _while_serving(self, phase: str, done: int, total: int) -> None:
        if self._server.draining:
            raise Interrupted("verification", "ends with the server")

    def _drop(self, place: Place) -> None:
        self._due.pop(place, None)
        self._later(lambda answers: answers.remove(place))

    def _put(self, answers: Answers, fresh: Fresh) -> None:
        try:
            if fresh.content is not None:
                answers.put(fresh.place, fresh.content)
                self.counts["stored"] += 1
        finally:
            self._server.records.later(lambda: self._stored(fresh))  # after the transaction that this may be in

    def _stored(self, fresh: Fresh) -> None:
        if self._due.get(fresh.place) is fresh:
            del self._due[fresh.place]

    def _later(self, work: Callable[[Answers], object]) -> None:
        """In the records' thread: in the store with all else that is stored, elsewhere by itself."""
        answers = self.answers
        assert answers is not None
        if answers.in_store:
            self._server.records.later(lambda: work(answers), stores=True)
        else:
            self._server.records.later(lambda: self._attempt(work, answers))

    def _attempt(self, work: Callable[[Answers], object], answers: Answers) -> None:
        try:
            work(answers)
        except Error as error:
            self._failed(error)

    def _failed(self, error: Error) -> None:
        self.counts["errors"] += 1
        if not self._is_failing:
            self._is_failing = True
            warnings.warn(f"the cache of answers fails, so they are computed: {error}", RuntimeWarning, stacklevel=3)


def place_of(ask: Ask, prepared: Prepared) -> Place:
    """Where the answer to a question is kept."""
    adapter = ask.options.get("adapter")
    of = adapter.fingerprint if isinstance(adapter, Adapter) else ""
    key = key_of(prepared.request_key, ask.options.get("top_logprobs", 0))
    return Place(ask.project, ask.served.model.info.fingerprint, of, key)
