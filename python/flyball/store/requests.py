"""Requests: what was asked of which model, and how it ended. Texts are stored only where the store keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from ..errors import InvalidArgument
from . import checks
from .schema import REQUEST_STATES, requests
from .scope import Condition, Scope, record

OPEN = ("waiting", "running")
_HOLDING = (*OPEN, "done")  # of an idempotency key
_MOST_ERROR = 10_000
_TEXTS = ("prompt", "answer")
_MOST_COMPARED = 50_000


class Facts(TypedDict, total=False):
    """What becomes known of a request while it runs. Times are milliseconds since 1970, `seed` is below 2**64;
    `cached_from`: id of the request whose answer was given again; `arm`: the side of a comparison that it was on,
    canary or control; `n_reserved`: tokens of the prompt and of the longest answer."""

    fingerprint: str | None
    stop_reason: str | None
    error: str | None
    n_prompt_tokens: int | None
    n_cached_tokens: int | None
    n_generated_tokens: int | None
    first_token: int | None
    digest: str | None
    request_key: str | None
    seed: int | None
    prompt: str | None
    answer: str | None
    cached_from: str | None
    task: str | None
    adapter: str | None
    arm: str | None
    decode_cycles: int | None
    n_reserved: int | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as stored. `begin` sets `created`, `started` and `instance`."""

    id: str
    api: str
    model: str
    state: str = "waiting"
    key_id: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    stop_reason: str | None = None
    error: str | None = None
    n_prompt_tokens: int | None = None
    n_cached_tokens: int | None = None
    n_generated_tokens: int | None = None
    first_token: int | None = None
    digest: str | None = None
    request_key: str | None = None
    seed: int | None = None
    prompt: str | None = None
    answer: str | None = None
    cached_from: str | None = None
    task: str | None = None
    adapter: str | None = None
    arm: str | None = None
    decode_cycles: int | None = None
    n_reserved: int | None = None
    created: int = 0
    started: int | None = None
    finished: int | None = None
    instance: str | None = None


class Requests:
    """The requests of a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def begin(self, request: Request) -> Request:
        """Store a request that waits or runs; what is returned is stored.

        It is an earlier request (another id) if that has the same idempotency key and waits, runs or is done. A request
        that failed, was canceled or interrupted frees its key. Raises InvalidArgument if the id is taken.
        """
        checks.one_of("state", request.state, OPEN)
        now = self._scope.clock()
        values = {name: value for name, value in vars(request).items() if name in Facts.__annotations__}
        row = {
            **vars(request),
            **self._checked(values),
            **{name: checks.text(name, getattr(request, name)) for name in ("id", "api", "model")},
            **{name: checks.optional(name, getattr(request, name)) for name in ("key_id", "idempotency_key")},
            "created": now,
            "started": now if request.state == "running" else None,
            "finished": None,
            "instance": self._scope.instance,
        }
        with self._scope.database.writing() as connection:
            if self._scope.insert_new(connection, requests, row):
                return record(Request, row)
            key = request.idempotency_key
            earlier = None if key is None else self._with_key(connection, key)
            taken = self._scope.one(connection, requests, requests.c.id == request.id, kind=Request)
        if earlier is not None:
            return earlier
        if taken is not None:
            raise InvalidArgument("id", f"{request.id} is already a request's; give each request its own")
        return self.begin(request)  # meanwhile another server freed the key

    def start(self, id: str, **facts: Unpack[Facts]) -> bool:
        """A waiting request runs. False: it does not wait, as when it was canceled meanwhile."""
        return self._move(id, ("waiting",), {"state": "running", "started": self._scope.clock()}, facts)

    def finish(self, id: str, state: str, **facts: Unpack[Facts]) -> bool:
        """A request ended. False: it had ended before, and stays as it was."""
        checks.one_of("state", state, REQUEST_STATES[len(OPEN) :])
        return self._move(id, OPEN, {"state": state, "finished": self._scope.clock()}, facts)

    def get(self, id: str) -> Request | None:
        """The request of this id."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, requests, requests.c.id == id, kind=Request)

    def by_idempotency_key(self, key: str) -> Request | None:
        """The request that has the key and waits, runs or is done."""
        with self._scope.database.reading() as connection:
            return self._with_key(connection, key)

    def between(
        self, start: int, end: int, states: Collection[str] = REQUEST_STATES, newest_first: bool = False
    ) -> Iterator[Request]:
        """Requests begun at `start` or later and before `end`, in time order; read while they are used."""
        start, end = checks.span(start, end)
        where: list[Condition] = [requests.c.created >= start, requests.c.created < end]
        for state in states:
            checks.one_of("states", state, REQUEST_STATES)
        if set(states) != set(REQUEST_STATES):
            where.append(requests.c.state.in_(states))
        rows = self._scope.pages(requests, *where, key=("created", "id"), newest_first=newest_first)
        return (record(Request, row) for row in rows)

    def compared(self, start: int) -> list[Request]:
        """Requests on a side of a comparison that were begun at `start` or later and have ended, in the order of their
        ends; without their texts."""
        checks.integer("start", start)
        where = (requests.c.arm.is_not(None), requests.c.created >= start, requests.c.state.in_(("done", "failed")))
        columns = [column for column in requests.c if column.name not in _TEXTS]
        chosen = self._scope.select(requests, *where).with_only_columns(*columns).order_by(requests.c.finished)
        with self._scope.database.reading() as connection:
            rows = connection.execute(chosen.limit(_MOST_COMPARED)).mappings().all()
        return [record(Request, dict(row) | dict.fromkeys(_TEXTS)) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many requests are in each state."""
        with self._scope.database.reading() as connection:
            counted = [tuple(row) for row in connection.execute(self._scope.count(requests, requests.c.state))]
        return dict.fromkeys(REQUEST_STATES, 0) | dict(counted)

    def purge(self, before: int) -> int:
        """Delete requests that ended before that time; how many they were."""
        checks.integer("before", before)
        return self._scope.purge(requests, requests.c.created < before, requests.c.finished < before)

    def recover(self) -> int:
        """What this instance left open when it ended is interrupted; how many requests that are."""
        if self._scope.instance is None:
            return 0
        left = (requests.c.instance == self._scope.instance, requests.c.finished.is_(None))
        ended = {"state": "interrupted", "finished": self._scope.clock()}
        with self._scope.database.writing() as connection:
            return connection.execute(self._scope.update(requests, *left).values(**ended)).rowcount

    def _move(self, id: str, states: Collection[str], to: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
        where = (requests.c.id == id, requests.c.state.in_(states))
        values = {**self._checked(facts), **to}
        with self._scope.database.writing() as connection:
            return connection.execute(self._scope.update(requests, *where), values).rowcount == 1

    def _with_key(self, connection: sa.Connection, key: str) -> Request | None:
        holds = (requests.c.idempotency_key == key, requests.c.state.in_(_HOLDING))
        return self._scope.one(connection, requests, *holds, kind=Request)

    def _checked(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        checked: dict[str, Any] = {}
        for name, value in facts.items():
            if value is None:
                checked[name] = None
            elif name in _TEXTS:
                checked[name] = checks.user_text(name, value) if self._scope.keep_text else None
            elif name == "seed":
                checked[name] = checks.integer(name, value, most=(1 << 64) - 1)
            elif name.startswith("n_") or name in ("first_token", "decode_cycles"):
                checked[name] = checks.integer(name, value)
            elif name in Facts.__annotations__:
                checked[name] = checks.text(name, value, _MOST_ERROR)
            else:
                raise InvalidArgument(name, "is no fact of a request")
        return checked
