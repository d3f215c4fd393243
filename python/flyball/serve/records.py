"""What a server remembers of its answers: in memory at once, signed and in the store a moment later.

Signing and storing take milliseconds, which no stream shall wait for: a thread does both (writer.py). Where that
fails, the answer is delivered all the same, and the failure is told and counted.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..audit import Signed, Signer
from ..engine.adapter import Adapter
from ..engine.receipt import Receipt
from ..engine.results import Result
from ..errors import Error
from ..journal.journal import Journal
from ..learn.giving import about
from ..store import Facts, Feedback, Project, Request, Store
from ..store import Receipt as StoredReceipt
from ..store.feedback import TooMany
from .failures import Failure
from .writer import Writer

if TYPE_CHECKING:
    from ..response_cache import CachedAnswer
    from .answering import Answering

KEPT_MS = 30 * 86_400_000  # requests, files of batches, and batches
_SETTLE_SECONDS = 5.0  # that a rating waits for a store that does not answer
_MOST = 512  # answers in memory; older ones are in the store


@dataclass(frozen=True)
class Record:
    """A finished answer. `receipt` and `signed`, None where nobody signs, come soon; what else is known of the answer,
    which may be large, is not kept for them."""

    id: str
    project: str
    model: str
    receipt: Future[Receipt] = field(repr=False)
    signed: Future[Signed | None] = field(repr=False)


class Records:
    """The answers of a server: for the event loop's thread alone. Without a store only the latest are remembered."""

    def __init__(
        self,
        store: Store | None = None,
        signer: Signer | None = None,
        receipt_hours: int = 24,
        keep_text: bool = False,
    ) -> None:
        self.store = store
        self._keep_text = keep_text
        self.signer = signer
        self.last_error = ""
        self.n_errors = 0
        self._receipt_ms = receipt_hours * 3_600_000
        self._records: OrderedDict[tuple[str, str], Record] = OrderedDict()
        self._projects: dict[str, Project] = {}
        self._late: LateJournal | None = None
        self._writer = Writer(store, self.failed)

    def __len__(self) -> int:
        """Answers in memory."""
        return len(self._records)

    def begun(self, answering: Answering) -> None:
        """Its turn has come: a request that a crash leaves so is one that was interrupted."""
        ask = answering.ask
        if self.store is not None:
            key = ask.idempotency_key or None
            task = None if ask.routed is None else ask.routed.choice.task
            request = Request(
                id=ask.id,
                api=ask.api,
                model=ask.served.name,
                state="running",
                idempotency_key=key,
                task=task,
                adapter=ask.adapter,
                arm=ask.arm,
                n_reserved=ask.most_tokens,
            )
            self._writer.put_in_store(lambda: _begin(self._project(ask.project), request, ask.resumable))

    def keep(self, answering: Answering, result: Result) -> None:
        """Remember an answer under its id. An id that another answer has is not given to this one."""
        ask = answering.ask
        place = (ask.project, ask.id)
        if place in self._records:
            return
        record = Record(ask.id, ask.project, ask.served.name, Future(), Future())
        self._remember(place, record)
        self._writer.do(lambda: self._sign(answering, result, record))

    def ended(self, answering: Answering, result: Result | None, error: BaseException | None) -> None:
        """It was ended without a result."""
        if self.store is not None and result is None:
            ask, state = answering.ask, "canceled" if error is None else "failed"
            about = str(error)[:1000] if error is not None else None
            facts = Facts(
                error=about,
                request_key=answering.request_key,
                n_prompt_tokens=len(ask.prompt),
                n_generated_tokens=len(answering.times.tokens),
            )
            self._writer.put_in_store(lambda: self._project(ask.project).requests.finish(ask.id, state, **facts))
            if state == "failed":
                self._writer.put_in_store(lambda: _add_task(self._project(ask.project), answering, None))

    def keep_again(self, answering: Answering, known: CachedAnswer) -> None:
        """Remember an answer that was given before: the request has its own row, the receipt is the first one's."""
        ask = answering.ask
        first = (ask.project, known.id)
        new = None
        if (record := self._records.get(first)) is None:
            record = new = Record(known.id, ask.project, ask.served.name, Future(), Future())
            record.receipt.set_result(known.receipt)
        for place in (first, (ask.project, ask.id)):
            self._remember(place, record)
        result = answering.result
        self._writer.do(lambda: self._keep_again(answering, result, record, new))

    def _keep_again(self, answering: Answering, result: Result, record: Record, new: Record | None) -> None:
        """Have its receipt kept as long as that of a new answer, also where it was kept no more."""
        if new is not None:
            stored = self._project(new.project).receipts.get(new.id) if self.store is not None else None
            if stored is not None and stored.signature is not None:
                new.signed.set_result(Signed.parse(stored.signature))
            else:
                self._set_signature(new)
        self._store(answering, result, record)

    def get(self, identity: str, project: str) -> Record:
        """The record of an answer of the project, by its id with or without prefix; Failure 404."""
        short = identity.rpartition("-")[2].rpartition("_")[2]
        if (record := self._records.get((project, short))) is not None:
            return record
        stored = self._stored(short, project) if self.store is not None and short else None
        if stored is None:
            raise Failure(
                404, f"there is no receipt {identity!r}: it was never given, or is no longer kept", param="id"
            )
        receipt = Receipt(stored.json)
        record = Record(stored.id, project, str(receipt["model"]["name"]), Future(), Future())
        record.receipt.set_result(receipt)
        record.signed.set_result(None if stored.signature is None else Signed.parse(stored.signature))
        return record

    def _stored(self, identity: str, project: str) -> StoredReceipt | None:
        """The stored receipt of an answer, or of the one that was given again for it."""
        rows = self._project(project)
        if (stored := rows.receipts.get(identity)) is not None:
            return stored
        request = rows.requests.get(identity)
        return rows.receipts.get(request.cached_from) if request is not None and request.cached_from else None

    def _remember(self, place: tuple[str, str], record: Record) -> None:
        self._records[place] = record
        while len(self._records) > _MOST:
            self._records.popitem(last=False)

    def rate(self, identity: str, project: str, given: Feedback) -> None:
        """Keep what somebody says of an answer; Failure where nothing is kept."""
        if self.store is None:
            raise Failure(501, "this server keeps no feedback: it was started without a store")
        record = self.get(identity, project)
        if not self._writer.settle(_SETTLE_SECONDS):  # it must be in the store
            raise Failure(503, "the store does not answer; try again", code="unavailable", headers={"retry-after": "5"})
        try:
            feedback, known = self._project(project).feedback, about(record.receipt.result())
            if (before := feedback.get(known["answer_id"], given.voter)) is not None and before.answer is not None:
                known["answer"] = before.answer  # as the voter saw it
            members = known | {name: value for name, value in vars(given).items() if value}
            feedback.rate(Feedback(**members | {"request_id": record.id}))
        except TooMany as error:
            raise Failure(429, str(error), code="too_many", headers={"retry-after": "3600"}) from None
        except Error as error:
            raise Failure.of(error) from None

    def judged(self, project: str, given: Feedback) -> None:
        """Keep what a program says of an answer that has ended, when that is stored itself; in any thread."""

        def put() -> None:
            self._project(project).feedback.put(given, most_a_day=None)

        self._writer.do(lambda: self._writer.put_in_store(put))  # behind what the answer's own work has to store

    def late(self, journal: Journal) -> LateJournal:
        """The journal as models get it: the records' thread writes it."""
        self._late = LateJournal(journal, self._writer.do)
        return self._late

    def later(self, work: Callable[[], object], stores: bool = False) -> None:
        """Have work done by the thread that stores. `stores`: it does nothing but store, and may be repeated."""
        self._writer.put_in_store(work) if stores else self._writer.do(work)

    def settle(self) -> None:
        """Wait until all that was to be stored is."""
        self._writer.settle()

    def tell(self, reason_id: str, data: Mapping[str, object]) -> None:
        """Record an event in the journal, where there is one."""
        if (late := self._late) is not None:
            late.tell(reason_id, data)

    def purge(self) -> None:
        """Delete what has expired."""
        if self.store is not None:
            self._writer.do(self._purge_all)

    def _purge_all(self) -> None:
        for name in self._names():
            self._purge(self._project(name))

    def keep_receipts(self, hours: int) -> None:
        """For how long the receipts of answers that end from now on are kept."""
        self._receipt_ms = hours * 3_600_000

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def _purge(self, project: Project) -> None:
        now = time.time_ns() // 1_000_000
        project.receipts.purge()
        project.files.purge()
        project.batches.purge(now - KEPT_MS)
        project.requests.purge(now - max(KEPT_MS, self._receipt_ms))  # an answer's receipt needs its request

    def _names(self) -> list[str]:
        return self.store.projects() if self.store is not None else []

    def _project(self, name: str) -> Project:
        assert self.store is not None
        if (project := self._projects.get(name)) is None:
            project = self._projects[name] = self.store.project(name)
        return project

    def failed(self, error: BaseException) -> None:
        """What was to be stored was not: told where the server runs, and counted."""
        self.n_errors += 1
        self.last_error = str(error)
        warnings.warn(f"not stored: {error}", RuntimeWarning, stacklevel=2)

    def _sign(self, answering: Answering, result: Result, record: Record) -> None:
        """Sign the receipt, and have it stored; in the writer's thread."""
        try:
            receipt = result.receipt
        except BaseException as error:
            record.receipt.set_exception(error)
            record.signed.set_exception(error)
            raise
        record.receipt.set_result(receipt)
        self._set_signature(record)
        self._store(answering, result, record)

    def _set_signature(self, record: Record) -> None:
        try:
            receipt = record.receipt.result()
            signature = self.signer.receipt(record.id, receipt.json) if self.signer is not None else None
        except BaseException as error:
            record.signed.set_exception(error)
            raise
        record.signed.set_result(signature)
        if self._late is not None:
            self._late._keep()  # the statement's line

    def _store(self, answering: Answering, result: Result, record: Record) -> None:
        if self.store is not None:
            self._writer.put_in_store(lambda: self._put(answering, result, record))

    def _put(self, answering: Answering, result: Result, record: Record) -> None:
        """Store what is known of an answer, and its receipt."""
        receipt, signature = record.receipt.result().json, record.signed.result()
        ask, times, metrics = answering.ask, answering.times, result.metrics
        project = self._project(ask.project)
        fingerprint = ask.served.model.info.fingerprint
        first = int(1000 * (times.tokens[0] - times.asked)) if times.tokens else None
        counts = {"n_prompt_tokens": len(result.prompt), "n_generated_tokens": len(result.tokens)}
        project.requests.finish(
            ask.id,
            "done",
            fingerprint=fingerprint,
            stop_reason=result.stop_reason,
            n_prompt_tokens=counts["n_prompt_tokens"],
            n_generated_tokens=counts["n_generated_tokens"],
            n_cached_tokens=metrics.cached_tokens,
            first_token=first,
            digest=result.digest,
            request_key=result.request_key,
            seed=result.seed,
            prompt=ask.served.model.detokenize(result.prompt, special=True) if self._keep_text else None,
            answer=result.text if self._keep_text else None,
            cached_from=None if answering.known is None else record.id,
            decode_cycles=metrics.decode.cycles if answering.known is None else None,
        )
        if answering.known is None:  # else the model has done nothing
            project.performance.add(
                fingerprint,
                n_answers=1,
                prefill_cycles=metrics.prefill.cycles,
                decode_cycles=metrics.decode.cycles,
                first_token_ms=() if first is None else (first,),
                **counts,
            )
            _add_task(project, answering, result)
        if self._receipt_ms:
            about = None if signature is None else signature.json
            expires = time.time_ns() // 1_000_000 + self._receipt_ms
            project.receipts.put(record.id, receipt, about, expires=expires)
            if answering.known is not None:
                project.receipts.keep(record.id, expires)


def _begin(project: Project, request: Request, resumable: bool) -> None:
    """An answer that a client asks for again, as its stream broke, has begun before."""
    if not resumable or project.requests.get(request.id) is None:
        project.requests.begin(request)


def _add_task(project: Project, answering: Answering, result: Result | None) -> None:
    """Add an answer to what is known of its model at its task; None: it failed."""
    ask, times = answering.ask, answering.times
    adapter = ask.options.get("adapter")
    counts = {}
    if result is not None:
        metrics = result.metrics
        counts = {
            "n_prompt_tokens": len(result.prompt),
            "n_generated_tokens": len(result.tokens),
            "cycles": metrics.prefill.cycles + metrics.decode.cycles,
            "ms": int(1000 * (times.tokens[-1] - (times.begun or times.asked))) if times.tokens else 0,
        }
    project.tasks.add(
        "" if ask.routed is None else ask.routed.choice.task,
        ask.served.name,
        ask.served.model.info.fingerprint,
        adapter.fingerprint if isinstance(adapter, Adapter) else "",
        ok=result is not None,
        **counts,
    )


class LateJournal:
    """A journal for models whose lines another thread writes: no step of a batch waits for the disk. What comes after
    that thread's end, the journal's own close() writes."""

    def __init__(self, journal: Journal, later: Callable[[Callable[[], object]], None]) -> None:
        self.core = journal.core
        self._journal = journal
        self._later = later
        self._is_due = False

    def tell(self, reason_id: str, data: Mapping[str, object]) -> None:
        """Record an event."""
        self._journal.tell(reason_id, data)
        self._keep()

    def _keep(self) -> None:
        """An answer has ended, in whatever thread: one writing serves all that have until it begins."""
        if not self._is_due:
            self._is_due = True
            self._later(self._write)

    def _write(self) -> None:
        self._is_due = False
        self._journal._keep()


def receipt_as_dict(record: Record) -> dict[str, Any]:
    """A record's receipt with its signature, as GET /v1/receipts/ID gives it. Waits for both."""
    receipt, signed = record.receipt.result(), record.signed.result()
    return {
        "id": record.id,
        "model": record.model,
        "receipt": json.loads(receipt.json),
        "receipt_text": receipt.json,
        "signature": None if signed is None else signed.as_dict(),
    }
