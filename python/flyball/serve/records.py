"""What a server remembers of its answers: in memory at once, signed and in the store a moment later.

Signing and storing take milliseconds, which no stream shall wait for: a thread does both (writer.py). Where that
fails, the answer is delivered all the same, and the failure is told and counted.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..audit import Signed, Signer
from ..engine.receipt import Receipt
from ..engine.results import Result
from ..errors import Error
from ..journal.journal import Journal
from ..store import Project, Request, Store
from .failures import Failure
from .writer import Writer

if TYPE_CHECKING:
    from .answering import Answering

KEPT_MS = 30 * 86_400_000  # requests, files of batches, and batches
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
            request = Request(id=ask.id, api=ask.api, model=ask.served.name, state="running", idempotency_key=key)
            self._writer.put_in_store(lambda: _begin(self._project(ask.project), request, ask.resumable))

    def keep(self, answering: Answering, result: Result) -> None:
        """Remember an answer under its id. An id that another answer has is not given to this one."""
        ask = answering.ask
        place = (ask.project, ask.id)
        if place in self._records:
            return
        record = self._records[place] = Record(ask.id, ask.project, ask.served.name, Future(), Future())
        while len(self._records) > _MOST:
            self._records.popitem(last=False)
        self._writer.do(lambda: self._sign(answering, result, record))

    def ended(self, answering: Answering, result: Result | None, error: BaseException | None) -> None:
        """It was ended without a result."""
        if self.store is not None and result is None:
            ask, state = answering.ask, "canceled" if error is None else "failed"
            about = str(error)[:1000] if error is not None else None
            self._writer.put_in_store(lambda: self._project(ask.project).requests.finish(ask.id, state, error=about))

    def get(self, identity: str, project: str) -> Record:
        """The record of an answer of the project, by its id with or without prefix; Failure 404."""
        short = identity.rpartition("-")[2].rpartition("_")[2]
        if (record := self._records.get((project, short))) is not None:
            return record
        stored = self._project(project).receipts.get(short) if self.store is not None and short else None
        if stored is None:
            raise Failure(
                404, f"there is no receipt {identity!r}: it was never given, or is no longer kept", param="id"
            )
        receipt = Receipt(stored.json)
        record = Record(short, project, str(receipt["model"]["name"]), Future(), Future())
        record.receipt.set_result(receipt)
        record.signed.set_result(None if stored.signature is None else Signed.parse(stored.signature))
        return record

    def rate(self, identity: str, project: str, rating: str | None, correction: str | None) -> None:
        """Keep what a person says of an answer; Failure where nothing is kept."""
        if self.store is None:
            raise Failure(501, "this server keeps no feedback: it was started without a store")
        record = self.get(identity, project)
        self._writer.settle()  # it must be in the store
        try:
            self._project(project).feedback.put(record.id, rating, correction)
        except Error as error:
            raise Failure.of(error) from None

    def late(self, journal: Journal) -> LateJournal:
        """The journal as models get it: the records' thread writes it."""
        self._late = LateJournal(journal, self._writer.do)
        return self._late

    def purge(self) -> None:
        """Delete what has expired."""
        if self.store is not None:
            self._writer.do(self._purge_all)

    def _purge_all(self) -> None:
        for name in self._names():
            self._purge(self._project(name))

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
        try:
            signature = self.signer.receipt(record.id, receipt.json) if self.signer is not None else None
        except BaseException as error:
            record.signed.set_exception(error)
            raise
        record.signed.set_result(signature)
        if self._late is not None:
            self._late._keep()  # the statement's line
        if self.store is not None:
            self._writer.put_in_store(lambda: self._put(answering, result, receipt.json, signature))

    def _put(self, answering: Answering, result: Result, receipt: str, signature: Signed | None) -> None:
        """Store what is known of an answer, and its receipt."""
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
        )
        project.performance.add(
            fingerprint,
            n_answers=1,
            prefill_cycles=metrics.prefill.cycles,
            decode_cycles=metrics.decode.cycles,
            first_token_ms=() if first is None else (first,),
            **counts,
        )
        if self._receipt_ms:
            about = None if signature is None else signature.json
            expires = time.time_ns() // 1_000_000 + self._receipt_ms
            project.receipts.put(ask.id, receipt, about, expires=expires)


def _begin(project: Project, request: Request, resumable: bool) -> None:
    """An answer that a client asks for again, as its stream broke, has begun before."""
    if not resumable or project.requests.get(request.id) is None:
        project.requests.begin(request)


class LateJournal:
    """A journal for models whose lines another thread writes: no step of a batch waits for the disk. What comes after
    that thread's end, the journal's own close() writes."""

    def __init__(self, journal: Journal, later: Callable[[Callable[[], object]], None]) -> None:
        self.core = journal.core
        self._journal = journal
        self._later = later
        self._is_due = False

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
