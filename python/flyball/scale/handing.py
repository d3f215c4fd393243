"""One request, handed on until a replica has answered it: what a replica began, another one goes on with.

An answer follows from its question, settings and seed alone, on every machine. So a replica that dies in the middle of
a stream takes nothing with it: the next one gets the same request, the id of the last event that the client got, and
the tokens that were sent, which it checks instead of computing each anew. The client sees a pause.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
from starlette.requests import Request
from starlette.responses import Response
from yarl import URL

from ..serve.failures import Failure
from ..serve.permissions import paths_of
from ..serve.streams import dumps, event, streamed
from .pieces import Elsewhere, Pieces, Sent
from .replicas import Doing, Lost, Replica

if TYPE_CHECKING:
    from .edge import Edge

# Whose answers follow from the request alone, so that any replica may be asked again.
_ANSWERS = frozenset(path for path in paths_of("generate") if "{" not in path) | {"/v1/verify", "/api/show"}
_REPEATABLE = ("GET", "HEAD", "OPTIONS")
# Of one connection, or of the edge's own making.
_OWN = (
    "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "expect",
    "host", "content-length", "origin", "sec-fetch-site", "flyball-tokens", "accept-encoding",
)  # fmt: skip
_NOT_BACK = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")
_STREAMS = ("text/event-stream", "application/x-ndjson")
_FULL = (429, 503)  # another replica may have room
_OF_BALANCERS = (500, 502, 504)  # where a replica died behind one; a server's own say that repetition is of no use
_RECEIPTS = ("/v1/receipts/", "/v1/verify")
_KEY_CHARACTERS = 1024
_MOST_LOSSES = 5  # of replicas with one request, without an event between them
_REST_SECONDS = 0.1  # before a replica is asked again that has just failed
_RECEIPT = re.compile(rb'"receipt": ?"([0-9a-f]{24})"')
_LOSSES = (aiohttp.ClientError, ConnectionError, TimeoutError, Elsewhere, Lost, ValueError)


class Handing:
    """A request on its way."""

    def __init__(self, edge: Edge, request: Request, body: bytes) -> None:
        self._edge = edge
        self._request = request
        self._body = body
        members = _members(body)
        self._is_answer = request.method == "POST" and request.url.path in _ANSWERS
        # Plugins may do something in the world: whoever asked must say whether that shall be done again.
        self._may_repeat = request.method in _REPEATABLE or (self._is_answer and not members.get("plugins"))
        self._headers = {name: value for name, value in request.headers.items() if name not in _OWN}
        if self._is_answer and self._may_repeat:
            # The answer's id and seed follow from the key: whoever gets the request computes the same answer.
            self._headers.setdefault("idempotency-key", f"edge-{secrets.token_hex(16)}")
            self._headers["flyball-tokens"] = "tell"
        self._key = _key(request, members)
        self._failed: list[Replica] = []  # by those that it was handed to
        self._sent = Sent(request.headers.get("last-event-id", ""))
        self._n_losses = self._n_sent = 0  # losses one after the other, and what was sent before the first

    async def response(self) -> Response:
        """The response of a replica; Failure 502 or 503 if there is none."""
        refused: Response | None = None
        since = time.monotonic()
        while True:
            is_final = refused is not None and refused.status_code not in _OF_BALANCERS
            replica = await self._next(since, strictly=is_final)
            if replica is None:
                break
            with replica.at_work() as doing:
                try:
                    upstream = await doing.wait(self._ask(replica))
                    if self._is_stream(upstream):
                        return await self._stream(replica, upstream)
                    response = await self._whole(replica, upstream, doing)
                except _LOSSES as error:
                    self._fail(replica, error)
                    since = time.monotonic()
                    continue
            if not self._may_pass(response):
                return response
            refused = response
            self._failed.append(replica)
        if refused is not None:
            return refused
        self._edge.telling.requests.labels("refused").inc()
        raise Failure(503, "no replica takes requests now", code="unavailable", headers={"retry-after": "5"})

    def _may_pass(self, response: Response) -> bool:
        """Whether another replica may answer better."""
        if response.status_code == 404:  # a receipt is where its answer was computed, unless they share a store
            return self._request.url.path.startswith(_RECEIPTS)
        return self._is_answer and _is_passing(response.status_code, response.headers)

    async def _next(self, since: float, strictly: bool = False) -> Replica | None:
        """A replica, if possible one that has not failed; `strictly`: no other. None: patience is over."""
        replicas, left = self._edge.replicas, since + self._edge.settings.patience - time.monotonic()
        if left <= 0:
            return None
        if strictly:
            return replicas.choose(self._key, self._failed)
        if self._failed and replicas.choose(self._key, self._failed) is None:
            await asyncio.sleep(_REST_SECONDS)
        return await replicas.one(self._key, self._failed, left)

    def _ask(self, replica: Replica) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """The head of a replica's response."""
        headers, body = self._headers, self._body
        if self._sent.last_id:
            headers = headers | {"last-event-id": self._sent.last_id}
        if self._sent.tokens:  # a JSON object, or there would be no tokens
            body = body.rstrip()[:-1] + b',"flyball_known":' + dumps(self._sent.tokens) + b"}"
        query = self._request.url.query
        path = self._request.scope["raw_path"].decode("ascii", "replace") + (f"?{query}" if query else "")
        return self._edge.session.request(
            self._request.method,
            URL(replica.url + path, encoded=True),
            data=body or None,
            headers=headers,
            allow_redirects=False,
        )

    def _fail(self, replica: Replica, error: Exception) -> None:
        """A replica has not answered. Failure 502 or 503 if nobody may be asked again."""
        self._failed.append(replica)
        if self._sent.n > self._n_sent:
            self._n_sent, self._n_losses = self._sent.n, 0
        self._n_losses += 1
        if isinstance(error, aiohttp.ClientConnectorError):
            self._edge.replicas.lost(replica, str(error))  # it got nothing
        elif not isinstance(error, Elsewhere | Lost):
            self._edge.replicas.look(replica)
        if not self._may_repeat and not isinstance(error, aiohttp.ClientConnectorError):
            self._edge.telling.requests.labels("broken").inc()
            what = "the replica was lost with this request, which it may have done: look before you repeat it"
            raise Failure(502, what, code="replica_lost")
        if self._n_losses > _MOST_LOSSES:  # it may be what kills them
            self._edge.telling.requests.labels("broken").inc()
            what = f"{self._n_losses} replicas were lost with this request, one after the other"
            raise Failure(502, what, code="replica_lost", headers={"x-should-retry": "false"})
        self._edge.telling.repeated.inc()

    def _is_stream(self, upstream: aiohttp.ClientResponse) -> bool:
        return self._is_answer and upstream.status == 200 and upstream.content_type in _STREAMS

    async def _whole(self, replica: Replica, upstream: aiohttp.ClientResponse, doing: Doing) -> Response:
        async with upstream:
            body = await doing.wait(upstream.read())
        if upstream.status == 200:
            self._offer(replica, body)
        self._edge.telling.requests.labels("whole").inc()
        return Response(body, upstream.status, _back(upstream))

    async def _stream(self, replica: Replica, upstream: aiohttp.ClientResponse) -> Response:
        kind = upstream.content_type
        is_events = kind == _STREAMS[0]
        pieces = self._pieces(replica, upstream, is_events)
        headers = {name: value for name, value in _back(upstream).items() if name != "content-type"}
        more: dict[str, Any] = {} if is_events else {"heartbeat": b""}

        def on_failure(failure: Failure) -> bytes:
            body = failure.shape(self._request.url.path)
            return event(body) if is_events else dumps(body) + b"\n"

        return await streamed(self._request, pieces, on_failure, kind=kind, headers=headers, **more)

    async def _pieces(
        self, replica: Replica, upstream: aiohttp.ClientResponse, is_events: bool
    ) -> AsyncIterator[bytes]:
        """A stream, by as many replicas as it takes."""
        since: float | None = None  # when the last replica was lost
        while True:
            pieces = Pieces(self._sent, is_events)
            try:
                with replica.at_work() as doing:
                    async with upstream:
                        async for chunk in _chunks(upstream, doing):
                            if whole := pieces.take(chunk):
                                if since is not None and not whole.startswith(b":"):
                                    self._edge.telling.pauses.observe(time.monotonic() - since)
                                    since = None
                                if b'"receipt"' in whole:
                                    self._offer(replica, whole)
                                yield whole
                self._edge.telling.requests.labels("streamed").inc()
                return
            except _LOSSES as error:
                since = since or time.monotonic()
                self._fail(replica, error)
            replica, upstream = await self._go_on(since)

    async def _go_on(self, since: float) -> tuple[Replica, aiohttp.ClientResponse]:
        """Another replica's stream, which begins behind what was sent. Failure 503 if there is none."""
        while (replica := await self._next(since)) is not None:
            with replica.at_work() as doing:
                try:
                    upstream = await doing.wait(self._ask(replica))
                except _LOSSES as error:
                    self._fail(replica, error)
                    continue
            if self._is_stream(upstream):
                self._edge.telling.went_on(replica.url, len(self._sent.tokens))
                return replica, upstream
            upstream.close()
            if not _is_passing(upstream.status, upstream.headers):
                break
            await asyncio.sleep(_REST_SECONDS)
        self._edge.telling.requests.labels("broken").inc()
        raise Failure(503, "the answer's replica was lost, and no other takes it now", code="replica_lost")

    def _offer(self, replica: Replica, body: bytes) -> None:
        """What may be computed once more."""
        if self._is_answer and (found := _RECEIPT.search(body)):
            self._edge.auditor.offer(replica, found[1].decode(), self._request.headers)


async def _chunks(upstream: aiohttp.ClientResponse, doing: Doing) -> AsyncIterator[bytes]:
    while chunk := await doing.wait(upstream.content.readany()):
        yield chunk


def _is_passing(status: int, headers: Mapping[str, str]) -> bool:
    """Whether another replica, or the same one later, may answer."""
    return status in _FULL or (status in _OF_BALANCERS and headers.get("x-should-retry") != "false")


def _back(upstream: aiohttp.ClientResponse) -> dict[str, str]:
    """A response's headers, but for those of its connection."""
    return {name: value for name, value in upstream.headers.items() if name.lower() not in _NOT_BACK}


def _key(request: Request, members: Mapping[str, Any]) -> bytes:
    """What requests have in common whose prompts begin alike: who asks, and how the conversation begins."""
    who = request.headers.get("authorization", "") or request.headers.get("x-api-key", "")
    return hashlib.blake2b(f"{who}\0{_beginning(members)}".encode(errors="replace"), digest_size=16).digest()


def _beginning(members: Mapping[str, Any]) -> str:
    said = next(filter(None, (members.get(name) for name in ("messages", "prompt", "input"))), "")
    if isinstance(said, list):  # up to the first thing that a user says: what comes later is another turn
        n = next((n for n, each in enumerate(said, 1) if _role(each) == "user"), 1)
        said = [members.get("system"), *said[:n]]
    return f"{members.get('model')} {json.dumps(said)[:_KEY_CHARACTERS]}"


def _members(body: bytes) -> Mapping[str, Any]:
    """Of a JSON object; of anything else, which the replica will refuse, none."""
    with suppress(ValueError, RecursionError):
        if isinstance(members := json.loads(body), dict):
            return members
    return {}


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None
