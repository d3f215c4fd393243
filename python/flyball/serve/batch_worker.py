"""Runs batches: claims their items, answers them as if they came over HTTP, and stores the results.

Everything is in the store, so that a batch survives the server, and several servers with one store share it. An item is
claimed with a lease: whoever dies loses it, and its answer is computed again, with the same seed and so with the same
bits. A result counts only from the one whose claim holds, hence once.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ..errors import Error
from ..store import MOST_TRIES, Batch, Item, Project, Store
from ..store.checks import MOST_TEXT_BYTES
from .batch_faults import faults
from .batch_lines import Outcome, derived_seed
from .batch_steps import OPEN, step, waits
from .failures import Failure
from .questions import MOST_PRIORITY, OPEN_SEED
from .quotas import QUOTA

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .server import Server

Handler = Callable[[Request], Awaitable[Response]]

_LEADS = 3  # leases, as a step can take longer than an answer's lease is renewed
_SHARE = 4  # of the places of a server, batches have one in so many
_RETRIED = (408, 429, 503)
_MOST_PAUSE = 60.0
_MOST_KNOWN = 1000  # batches whose endpoints are remembered


class BatchWorker:
    """A server's part in the batches of its store: for the event loop's thread alone.

    lease_ms       for which a claimed item is this server's without a sign of life
    poll_seconds   after which work of other servers is noticed
    retry_seconds  before a second try, where the failure does not say; before the third twice as long
    """

    def __init__(
        self, server: Server, lease_ms: int = 120_000, poll_seconds: float = 1.0, retry_seconds: float = 2.0
    ) -> None:
        self._server = server
        self._lease_ms = lease_ms
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._running: dict[asyncio.Task[None], tuple[Project, Item]] = {}
        self._active: list[str] = []  # projects with a batch in progress
        self._endpoints: dict[str, str] = {}
        self._renewed = time.monotonic()
        self._refused: dict[str, float] = {}  # projects that have used up a quota, and when (monotonic) to ask again
        self._moving = asyncio.Event()
        self._claiming = asyncio.Event()

    @property
    def n_running(self) -> int:
        """Items that are answered now."""
        return len(self._running)

    def wake(self) -> None:
        """A batch is new, or was canceled."""
        self._moving.set()
        self._claiming.set()

    async def run(self, app: Starlette) -> None:
        """Work until this is canceled; what is not answered then is given back."""
        store = self._server.records.store
        if store is None:
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forever(lambda: self._move(store), self._moving))
                group.create_task(self._forever(lambda: self._claim(store, app), self._claiming))
        finally:
            await self._give_back()

    async def _forever(self, work: Callable[[], Awaitable[None]], woken: asyncio.Event) -> None:
        while True:
            woken.clear()
            try:
                await work()
            except Exception as error:  # a store that does not answer, or a defect: neither may end the other batches
                self._server.records.failed(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await woken.wait()

    async def _move(self, store: Store) -> None:
        """Bring each batch as far as it goes without further answers."""
        if not self._server.draining:
            active = await asyncio.to_thread(self._move_all, store)
            if active and active != self._active:
                self._claiming.set()
            self._active = active

    def _move_all(self, store: Store) -> list[str]:
        """The projects with a batch in progress, when all are moved; in a thread."""
        active = []
        for name in store.projects():
            project = store.project(name)
            for batch in list(project.batches.all(OPEN)):
                now = batch
                try:
                    while now.state in OPEN and not waits(now) and self._leads(project, batch):
                        before, now = now.state, step(project, now)
                        if now.state == before:
                            break
                except Error as error:
                    self._server.records.failed(error)
                if now.state == "in_progress":
                    active.append(name)
        return list(dict.fromkeys(active))

    def _leads(self, project: Project, batch: Batch) -> bool:
        return project.batches.lead(batch.id, _LEADS * self._lease_ms)

    async def _claim(self, store: Store, app: Starlette) -> None:
        """Keep what runs, and begin as many further items as have room."""
        await self._renew()
        for name in self._active:
            if self._server.draining or (room := self._room()) < 1:
                return
            if time.monotonic() < self._refused.get(name, 0.0):
                continue
            project = await asyncio.to_thread(store.project, name)
            for item in await self._claimed(project, room):
                task = asyncio.create_task(self._run(project, item, app))
                self._running[task] = (project, item)
                task.add_done_callback(self._ended)

    async def _claimed(self, project: Project, n: int) -> list[Item]:
        """Claim at most `n` items. Canceled meanwhile, none stays claimed."""
        claiming = asyncio.ensure_future(asyncio.to_thread(project.items.claim, n, self._lease_ms))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.to_thread(project.items.release, await claiming)
            raise

    def _room(self) -> int:
        """Items that may begin: a share of the server's places, of those that nobody else wants."""
        parallel, queue = self._server.settings.parallel, self._server.queue
        return min(max(1, parallel // _SHARE) - len(self._running), parallel - queue.n_running - queue.n_waiting)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._server.records.failed(error)  # the item stays claimed until its lease lapses
        self._claiming.set()
        if not self._running:
            self._moving.set()

    async def _renew(self) -> None:
        """Keep the claims; an item that was lost, as its batch expired, is not answered to the end."""
        if time.monotonic() - self._renewed < self._lease_ms / 4000:
            return
        self._renewed = time.monotonic()
        for task, (project, item) in list(self._running.items()):
            if not await asyncio.to_thread(project.items.renew, [item], self._lease_ms):
                task.cancel()

    async def _give_back(self) -> None:
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for project, item in running.values():  # one whose result was stored is no longer claimed, and stays
            await asyncio.to_thread(project.items.release, [item])

    async def _run(self, project: Project, item: Item, app: Starlette) -> None:
        outcome = await self._answer(project, item, app)
        if outcome.retry_after is not None and outcome.code.startswith(QUOTA):  # no fault of the item's: it waits
            self._refused[project.name] = time.monotonic() + min(outcome.retry_after, _MOST_PAUSE)
            await asyncio.to_thread(project.items.release, [item])
            return
        if outcome.retry_after is not None:
            if item.tries < MOST_TRIES:
                await self._pause(outcome.retry_after * item.tries)
            if self._server.draining:
                await asyncio.to_thread(project.items.release, [item])
                return
        if await asyncio.to_thread(_store, project, item, outcome):
            await asyncio.to_thread(self._tell_faults, project, item, outcome)

    def _tell_faults(self, project: Project, item: Item, outcome: Outcome) -> None:
        """What the model has failed at is feedback; that none can be made of it ends no batch."""
        try:
            for given in faults(item, outcome):
                self._server.records.judged(project.name, given)
        except Exception as error:
            self._server.records.failed(error)

    async def _pause(self, seconds: float) -> None:
        """Before another try; not while the server ends."""
        end = time.monotonic() + min(seconds, _MOST_PAUSE)
        while not self._server.draining and (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.1))

    async def _answer(self, project: Project, item: Item, app: Starlette) -> Outcome:
        """What the endpoint says to the request; nothing raised."""
        endpoint = await self._endpoint(project, item.batch_id)
        request = self._request(project, item, endpoint, app)
        try:
            response = await _handlers()[endpoint](request)
        except Exception as error:
            self._server.observe.refused(error, request.scope)
            return self._failed(Failure.of(error))
        return Outcome(response.status_code, json.loads(bytes(response.body)), response.headers.get("flyball-digest"))

    async def _endpoint(self, project: Project, batch_id: str) -> str:
        if batch_id not in self._endpoints:
            if len(self._endpoints) >= _MOST_KNOWN:
                self._endpoints.clear()
            batch = await asyncio.to_thread(project.batches.get, batch_id)
            assert batch is not None  # a batch with claimed items is not purged
            self._endpoints[batch_id] = batch.endpoint
        return self._endpoints[batch_id]

    def _request(self, project: Project, item: Item, endpoint: str, app: Starlette) -> Request:
        """The item as its endpoint reads it: behind all others in the queue, with a seed that each try has."""
        raw = item.request.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        scope: dict[str, Any] = {
            "type": "http", "method": "POST", "path": endpoint, "query_string": b"", "headers": headers,
            "server": ("localhost", 80), "scheme": "http", "app": app,
            "flyball.client": f"batches of {project.name}", "flyball.project": project.name,
            "flyball.priority": -MOST_PRIORITY - 1, OPEN_SEED: derived_seed(item.batch_id, item.custom_id),
        }  # fmt: skip
        is_sent = False

        async def receive() -> dict[str, Any]:
            nonlocal is_sent
            if is_sent:
                await asyncio.Event().wait()  # this client never goes
            is_sent = True
            return {"type": "http.request", "body": raw, "more_body": False}

        return Request(scope, receive)

    def _failed(self, failure: Failure) -> Outcome:
        retry_after = None
        if failure.status in _RETRIED:
            retry_after = float(failure.headers.get("retry-after", self._retry_seconds))
        return Outcome(failure.status, failure.openai(), retry_after=retry_after)


def _store(project: Project, item: Item, outcome: Outcome) -> bool:
    """Keep what became of an item, if it is still this server's: whether that was its end."""
    if len(outcome.json) > MOST_TEXT_BYTES:
        what = f"the response is larger than {MOST_TEXT_BYTES >> 20} MiB; ask for less in one request"
        outcome = Outcome(400, Failure(400, what, code="response_too_large").openai())
    if outcome.status == 200:
        return project.items.complete(item, outcome.json, outcome.digest)
    return project.items.fail(item, outcome.json, again=outcome.retry_after is not None)


def _handlers() -> dict[str, Handler]:
    from .apis import embeddings, openai_chat, openai_completions, openai_responses

    return {
        "/v1/chat/completions": openai_chat.completions,
        "/v1/completions": openai_completions.completions,
        "/v1/embeddings": embeddings.embeddings,
        "/v1/responses": openai_responses.responses,
    }
