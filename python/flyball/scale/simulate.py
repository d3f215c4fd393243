"""A discrete-event simulation of edges and replicas: what users would see of a fleet that nobody has.

It has the rules of the real ones: the edge's choice of a replica is that of scale/choosing.py itself; steps of all
running answers with pieces of prompts beside them, turns, bounds, refusals that are passed on, and deaths after which
another replica checks the known tokens and goes on. Costs are those of capacity.py. All from a seed.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from .capacity import Replica, Workload
from .choosing import chosen
from .fleet import EdgeCosts

_LOST_AFTER = 0.1  # an edge's rest before it asks again (scale/handing.py)
_PATIENCE = 30.0  # that a request waits for a replica (scale/settings.py)


@dataclass(frozen=True)
class Question:
    """A request: when it comes, its conversation, its tokens, and how many of its prompt's the conversation had."""

    at: float
    key: bytes
    prompt: int
    shared: int
    answer: int


@dataclass(frozen=True)
class Death:
    """A replica that is killed, by its number, and when it serves again."""

    at: float
    replica: int
    back: float


@dataclass(eq=False)
class Told:
    """What a user saw, in seconds from the start."""

    question: Question
    first: float = 0.0
    last: float = 0.0
    n_tokens: int = 0
    n_replicas: int = 0
    refused: bool = False

    @property
    def first_token(self) -> float:
        """From the question on."""
        return self.first - self.question.at

    @property
    def per_token(self) -> float:
        """After the first one; 0: there is only one."""
        return (self.last - self.first) / (self.n_tokens - 1) if self.n_tokens > 1 else 0.0


@dataclass
class Seen:
    """A simulation's result. Integrals over its `seconds`: of requests in replicas, and of each replica's steps."""

    told: list[Told]
    seconds: float
    number: float
    busy: list[float]

    @property
    def done(self) -> list[Told]:
        """Answers that ended."""
        return [each for each in self.told if not each.refused]

    @property
    def tokens(self) -> int:
        """That users got."""
        return sum(each.n_tokens for each in self.told)

    def goodput(self, first_token: float, per_token: float) -> float:
        """Answers a second that were in time, while requests came."""
        good = sum(each.first_token <= first_token and each.per_token <= per_token for each in self.done)
        return good / max((each.question.at for each in self.told), default=1.0)


def questions(work: Workload, rate: float, seconds: float, seed: int = 0) -> Iterator[Question]:
    """Poisson arrivals; so many of them as `work.again` says continue a conversation that was there before."""
    chance = random.Random(f"questions {seed}")
    now, n_conversations = 0.0, 0
    while (now := now + chance.expovariate(rate)) < seconds:
        prompt, answer = work.prompt.draw(chance), work.answer.draw(chance)
        if continues := n_conversations > 0 and chance.random() < work.again:
            key = chance.randrange(n_conversations)
        else:
            key, n_conversations = n_conversations, n_conversations + 1
        yield Question(now, key.to_bytes(8, "big"), prompt, int(prompt * work.shared) if continues else 0, answer)


@dataclass(eq=False)
class _Sequence:
    """An answer at a replica. `left`: tokens of the prompt, or known ones, that are still to be computed."""

    told: Told
    edge: int
    left: int = 0
    begun: bool = False  # it has had its turn


@dataclass(eq=False)
class _Server:
    """A replica."""

    url: str
    costs: Replica
    known: OrderedDict[bytes, None] = field(default_factory=OrderedDict)  # conversations in its cache
    waiting: deque[_Sequence] = field(default_factory=deque)
    prompts: deque[_Sequence] = field(default_factory=deque)  # by turns
    decoding: list[_Sequence] = field(default_factory=list)
    doing: set[_Sequence] = field(default_factory=set)
    lives: int = 0  # how many times it was killed: steps of a former life do not end
    is_up: bool = True
    works: bool = False
    busy: float = 0.0

    @property
    def running(self) -> int:
        return len(self.prompts) + len(self.decoding)

    @property
    def is_full(self) -> bool:
        return self.running >= self.costs.parallel and len(self.waiting) >= self.costs.waiting


class Simulation:
    """One run. `conversations`: that a replica's cache has room for."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        edges: Sequence[EdgeCosts] = (),
        deaths: Iterable[Death] = (),
        conversations: int = 256,
        seed: int = 0,
    ) -> None:
        self._servers = [_Server(f"http://replica-{n}", costs) for n, costs in enumerate(replicas)]
        self._edges = list(edges) or [EdgeCosts(0.0, 0.0)]
        self._free = [0.0] * len(self._edges)  # when an edge has done what it was given
        self._conversations = conversations
        self._chance = random.Random(f"simulation {seed}")
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        self._number, self._n_in, self._since = 0.0, 0, 0.0
        for death in deaths:
            self._at(death.at, lambda death=death: self._die(self._servers[death.replica], death.back))  # type: ignore[misc]

    def run(self, asked: Iterable[Question]) -> Seen:
        """All of them, until the last one has ended."""
        left, told = iter(asked), []

        def come() -> None:
            if (question := next(left, None)) is not None:
                told.append(Told(question))
                self._at(question.at, lambda one=told[-1]: arrive(one))  # type: ignore[misc]

        def arrive(one: Told) -> None:
            edge = self._chance.randrange(len(self._edges))
            costs = self._edges[edge]
            ready = self._through(edge, costs.request + costs.choose * len(self._servers))
            sequence = _Sequence(one, edge)
            self._at(ready, lambda: self._hand(sequence, ready + _PATIENCE))
            come()

        come()
        while self._queue:
            self._now, _, act = heapq.heappop(self._queue)
            act()
        self._count(0)
        seconds = max([self._now, *self._free])
        return Seen(told, seconds, self._number, [server.busy for server in self._servers])

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), act))

    def _through(self, edge: int, seconds: float) -> float:
        """When an edge, which does one thing after the other, has done this."""
        self._free[edge] = max(self._free[edge], self._now) + seconds
        return self._free[edge]

    def _count(self, change: int) -> None:
        self._number += self._n_in * (self._now - self._since)
        self._n_in, self._since = self._n_in + change, self._now

    def _hand(self, sequence: _Sequence, until: float) -> None:
        """To a replica that has room; where all are full it is refused, where none is there it waits."""
        up = [server for server in self._servers if server.is_up]
        if not up and self._now < until:
            self._at(self._now + _LOST_AFTER, lambda: self._hand(sequence, until))
            return
        while (server := chosen(sequence.told.question.key, up)) is not None:
            if not server.is_full:
                self._count(1)
                server.doing.add(sequence)
                server.waiting.append(sequence)
                sequence.told.n_replicas += 1
                if not server.works:
                    self._step(server)
                return
            up.remove(server)
        sequence.told.refused = True

    def _admit(self, server: _Server) -> float:
        """Give waiting ones their turn; what that takes."""
        seconds = 0.0
        while server.waiting and server.running < server.costs.parallel:
            held = sum(_tokens(each) for each in (*server.prompts, *server.decoding))
            tokens = held + _tokens(server.waiting[0])
            if server.running and tokens * server.costs.token_bytes > server.costs.cache_bytes:
                break
            sequence = server.waiting.popleft()
            question = sequence.told.question
            cached = question.shared if question.key in server.known else 0
            sequence.left = max(1, question.prompt - cached) + sequence.told.n_tokens
            server.prompts.append(sequence)
            seconds += server.costs.request
        return seconds

    def _step(self, server: _Server) -> None:
        """Begin a step: a token of each running answer, and beside them pieces of prompts, by turns."""
        seconds = self._admit(server)
        server.works = server.running > 0
        if not server.works:
            return
        decoding, ended = list(server.decoding), []
        room = server.costs.beside(len(decoding))
        fed = 0
        for _ in range(len(server.prompts)):
            if fed == room:
                break
            sequence = server.prompts.popleft()
            n = min(sequence.left, room - fed)
            fed += n
            sequence.left -= n
            if sequence.left:
                server.prompts.append(sequence)
            else:
                ended.append(sequence)
                server.decoding.append(sequence)
        seconds += fed * server.costs.prompt_token + (server.costs.step(len(decoding)) if decoding else 0.0)
        server.busy += seconds
        life = server.lives
        self._at(self._now + seconds, lambda: self._stepped(server, life, (*decoding, *ended)))

    def _stepped(self, server: _Server, life: int, gave: Sequence[_Sequence]) -> None:
        """A step has ended, and given these a token, unless its replica has died in it."""
        if life != server.lives:
            return
        for sequence in gave:
            told = sequence.told
            told.last = self._through(sequence.edge, self._edges[sequence.edge].event)
            told.first = told.first or told.last
            told.n_tokens += 1
            if told.n_tokens == told.question.answer:
                server.decoding.remove(sequence)
                server.doing.remove(sequence)
                self._remember(server, told.question.key)
                self._count(-1)
        self._step(server)

    def _remember(self, server: _Server, key: bytes) -> None:
        server.known[key] = None
        server.known.move_to_end(key)
        if len(server.known) > self._conversations:
            server.known.popitem(last=False)

    def _die(self, server: _Server, back: float) -> None:
        """What it was doing goes on elsewhere; it comes back with an empty cache."""
        if server.is_up:
            lost = sorted(server.doing, key=lambda each: each.told.question.at)
            server.lives, server.is_up, server.works = server.lives + 1, False, False
            for group in (server.known, server.waiting, server.prompts, server.decoding, server.doing):
                group.clear()
            self._count(-len(lost))
            for sequence in lost:
                self._hand(_Sequence(sequence.told, sequence.edge), self._now + _PATIENCE)
            self._at(back, lambda: setattr(server, "is_up", True))


def _tokens(sequence: _Sequence) -> int:
    """Of keys and values, at most."""
    return sequence.told.question.prompt + sequence.told.question.answer
