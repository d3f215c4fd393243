"""How many replicas and edges a number of users needs, what they cost, and what is full first. Pure arithmetic.

What is shared by all grows with the square of the size: every edge looks at every replica. So the numbers of both are
the fixed point of two equations, and beyond some size there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidArgument
from .capacity import Limits, Replica, Workload, bearable, steady

HOURS = 730  # of a month
_ROUNDS = 200
_MOST = 10_000_000


@dataclass(frozen=True)
class EdgeCosts:
    """An edge: one thread. Times in seconds of its processor, unless told.

    request, event  a request, and an event of a stream
    choose      the choice of a replica, for each replica there is
    look        a look at a replica; one every `look_every` seconds at each
    canary_every  seconds between two rounds of the question whose answer is known, asked one after the other
    verify      share of the answers that are computed once more, one at a time; `verify_wait`: what one takes at most
                before it begins, where no replica is idle
    busy        share of the thread that may be used
    """

    request: float
    event: float
    choose: float = 0.0
    look: float = 0.0
    look_every: float = 0.5
    canary_every: float = 30.0
    verify: float = 0.01
    verify_wait: float = 5.0
    busy: float = 0.7
    memory_bytes: int = 100 << 20
    price: float = 0.0


@dataclass(frozen=True)
class StoreCosts:
    """The store that all replicas share: answers a second that it can keep, connections, and what one replica has."""

    answers: float = math.inf
    connections: int = 100
    connections_each: int = 2
    cache_operations: float = math.inf  # of Redis; an answer takes two
    price: float = 0.0


@dataclass(frozen=True)
class Fleet:
    """`uses`: of each shared resource, the share that is used; above 1 it is what fails first."""

    users: float
    requests: float
    replicas: int
    edges: int
    memory_bytes: int
    month: float
    uses: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """The resource of which most is used."""
        return max(self.uses, key=lambda name: self.uses[name])


def fleet(users: float, work: Workload, replica: Replica, edge: EdgeCosts, store: StoreCosts, limits: Limits) -> Fleet:
    """The least fleet for so many users. Raises InvalidArgument where no number of replicas or edges is enough."""
    each = bearable(replica, work, limits)
    if not each:
        raise InvalidArgument("limits", "are not met by a replica with a single answer: a faster one is needed")
    arrivals = users * work.per_user
    n_replicas = n_edges = 1
    for _ in range(_ROUNDS):
        watched = n_edges * (replica.look / edge.look_every + replica.question / edge.canary_every)
        if watched >= 1:
            raise _too_many(users, "replicas", f"{n_edges} edges' looks and questions take all of a replica's time")
        replicas = math.ceil(arrivals * (1 + edge.verify / 2) / (each * (1 - watched)))
        free = edge.busy - replicas * edge.look / edge.look_every
        if free <= 0:
            raise _too_many(users, "edges", f"looks at {replicas} replicas take all of an edge's time")
        handing = edge.request + work.answer.mean * edge.event + replicas * edge.choose
        edges = math.ceil(arrivals * handing / free)
        if (replicas, edges) == (n_replicas, n_edges):
            return _fleet(users, work, replica, edge, store, (max(1, replicas), max(1, edges)))
        n_replicas, n_edges = max(1, replicas), max(1, edges)
        if max(replicas, edges) > _MOST:
            break
    raise _too_many(users, "replicas and edges", "each edge needs more replicas, and each replica more of an edge")


def _too_many(users: float, what: str, why: str) -> InvalidArgument:
    return InvalidArgument("users", f"{users:,.0f} need more {what} than help: {why}; look less often, or in cells")


def _fleet(
    users: float,
    work: Workload,
    replica: Replica,
    edge: EdgeCosts,
    store: StoreCosts,
    size: tuple[int, int],
) -> Fleet:
    replicas, edges = size
    arrivals = users * work.per_user
    busy = steady(arrivals / replicas, replica.rates(work), replica.waiting).busy
    none_idle = busy ** max(1, replicas - 1)
    checked = edge.verify_wait * none_idle + 1 / replica.rate(1, work) / 2  # half of what the answer took
    tokens = replica.places(work) * (work.prompt.mean + work.answer.mean)  # at most
    of_replica = replica.weights_bytes + replica.base_bytes + math.ceil(tokens * replica.token_bytes)
    uses = {
        "edges: handing on": arrivals * (edge.request + work.answer.mean * edge.event) / edges,
        "edges: choosing": arrivals * replicas * edge.choose / edges,
        "edges: looks": replicas * edge.look / edge.look_every,
        "replicas: looks": edges * replica.look / edge.look_every,
        "replicas: known questions": edges * replica.question / edge.canary_every,
        "known questions within their time": replicas * replica.question / edge.canary_every,
        "verification": arrivals * edge.verify / edges * checked,
        "store: connections": replicas * store.connections_each / store.connections,
        "store: answers": arrivals / store.answers,
        "Redis": 2 * arrivals / store.cache_operations,
    }
    month = HOURS * (replicas * replica.price + edges * edge.price + store.price)
    return Fleet(users, arrivals, replicas, edges, replicas * of_replica + edges * edge.memory_bytes, month, uses)


def fills(
    name: str, work: Workload, replica: Replica, edge: EdgeCosts, store: StoreCosts, limits: Limits
) -> float | None:
    """From how many users on a resource is full; None: not before the fleet itself has no solution."""
    low, high = 1.0, 1.0

    def is_full(users: float) -> bool:
        return fleet(users, work, replica, edge, store, limits).uses[name] >= 1

    try:
        while not is_full(high):
            low, high = high, 1.5 * high
        while high / low > 1.01:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if is_full(middle) else (middle, high)
    except InvalidArgument:
        return None
    return high
