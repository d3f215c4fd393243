"""What replicas take: from measured costs of one replica and a workload to the load that it bears. Pure arithmetic.

The answers of a replica share it: each step computes the next token of all that run. That is a processor-sharing queue
whose speed depends on how many there are, and of it the number of requests in it is known in closed form, whatever the
lengths' distribution (insensitivity: Cohen, The multiple phase service network with generalized processor sharing,
Acta Informatica 12, 1979), as long as requests come independently of each other (Poisson). Percentiles of times are not
in closed form: scale/simulate.py has them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import InvalidArgument

_SMALL = 1e-300
_HALVINGS = 60
_MOST_BESIDE = 512  # rows of a call (cpp/engine/engine.h)


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens, gamma distributed. `spread`: standard deviation over mean; 0: none; 1: exponential."""

    mean: float
    spread: float = 0.0

    def draw(self, chance: random.Random) -> int:
        """One of them, at least 1."""
        if not self.spread:
            return max(1, round(self.mean))
        shape = self.spread**-2
        return max(1, round(chance.gammavariate(shape, self.mean / shape)))


@dataclass(frozen=True)
class Workload:
    """What users ask in the busy hour.

    per_user       questions per second of one user
    prompt, answer tokens
    shared         share of a prompt's tokens that a replica has in its cache if it had the conversation before
    again          share of the questions that continue a conversation
    """

    per_user: float = 1 / 600
    prompt: Lengths = Lengths(400, 1.0)
    answer: Lengths = Lengths(150, 0.7)
    shared: float = 0.7
    again: float = 0.6

    @property
    def computed(self) -> float:
        """Tokens of a mean prompt that no cache knows."""
        return self.prompt.mean * (1 - self.shared * self.again)


@dataclass(frozen=True)
class Replica:
    """A server that computes. Times in seconds.

    steps         (answers that run, time of a step that gives each of them a token), rising
    prompt_token  what a token of a prompt adds to a step
    request       what a request adds, whatever its lengths
    look, question  what one look of an edge takes of it, and the question whose answer is known
    weights_bytes, token_bytes, base_bytes  memory: weights, keys and values of a token, all else
    parallel, waiting, cache_bytes  its bounds (serve.parallel, serve.waiting, serve.cache_mb)
    price         of an hour
    """

    steps: tuple[tuple[int, float], ...]
    prompt_token: float
    request: float = 0.0
    look: float = 0.0
    question: float = 0.0
    weights_bytes: int = 0
    token_bytes: int = 0
    base_bytes: int = 0
    parallel: int = 64
    waiting: int = 256
    cache_bytes: int = 4 << 30
    price: float = 0.0

    def __post_init__(self) -> None:
        numbers, times = [n for n, _ in self.steps], [t for _, t in self.steps]
        if not numbers or numbers[0] < 1 or sorted(set(numbers)) != numbers or min(times) <= 0:
            raise InvalidArgument("steps", f"are {self.steps}, must be rising numbers from 1 with times above 0")
        if min(self.prompt_token, self.request, self.look, self.question) < 0 or self.parallel < 1 or self.waiting < 0:
            raise InvalidArgument("replica", "has a cost below 0, or bounds that let nothing run")

    def step(self, n: float) -> float:
        """Time of a step of `n` answers: between measured numbers straight lines, beyond the last one its slope."""
        before = self.steps[0]
        if n <= before[0] or len(self.steps) == 1:
            return before[1]
        for after in self.steps[1:]:
            if n <= after[0]:
                break
            if after is not self.steps[-1]:
                before = after
        return before[1] + (after[1] - before[1]) * (n - before[0]) / (after[0] - before[0])

    def beside(self, n: int) -> int:
        """Tokens of prompts that join a step of `n` answers: up to twice its time (cpp/governor/prompt_pace.h)."""
        if not n or not self.prompt_token:
            return _MOST_BESIDE - min(n, _MOST_BESIDE - 1)
        return max(1, min(_MOST_BESIDE - n, int(self.step(n) / self.prompt_token)))

    def places(self, work: Workload) -> int:
        """Answers that run at once, at most: bounded by number, and by the memory of their keys and values."""
        tokens = (work.prompt.mean + work.answer.mean) * self.token_bytes
        return max(1, min(self.parallel, int(self.cache_bytes / tokens) if tokens else self.parallel))

    def decoding(self, n: float, work: Workload) -> float:
        """How many of `n` answers are beyond their prompts, where `n` always run.

        Beside others prompts get half of the time, so each takes twice what it needs (Little: so many are in it). If
        they need more than half, they pile up until the answers that are left to decode leave them enough.
        """
        prompt, low, high = self.prompt_time(work), 1.0, float(n)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            decode = work.answer.mean * self.step(middle) / middle
            fits = middle + 2 * prompt / (prompt + decode) <= n and decode >= prompt
            low, high = (middle, high) if fits else (low, middle)
        return low

    def prompt_time(self, work: Workload) -> float:
        """Of a replica's time, what a prompt takes."""
        return self.request + work.computed * self.prompt_token

    def rate(self, n: float, work: Workload) -> float:
        """Answers per second while `n` run."""
        d = self.decoding(n, work)
        return 1 / (self.prompt_time(work) + work.answer.mean * self.step(d) / d)

    def token_time(self, n: float, work: Workload) -> float:
        """Between two tokens of an answer, while `n` run."""
        return self.decoding(n, work) / (self.rate(n, work) * work.answer.mean)

    def rates(self, work: Workload) -> list[float]:
        """Answers per second while 1, 2, ... run."""
        return [self.rate(n, work) for n in range(1, self.places(work) + 1)]


@dataclass(frozen=True)
class Steady:
    """A queue that has run for long. `shares[n]`: of the time, with n requests in it; `refused`: of those that come."""

    shares: tuple[float, ...]
    arrivals: float
    places: int

    @property
    def refused(self) -> float:
        """Poisson arrivals see what time sees."""
        return self.shares[-1]

    @property
    def busy(self) -> float:
        """Share of the time with something to do."""
        return 1 - self.shares[0]

    @property
    def waits(self) -> float:
        """Share of those that come who find all places taken."""
        return math.fsum(self.shares[self.places :])

    @property
    def number(self) -> float:
        """Mean number of requests in it."""
        return math.fsum(n * share for n, share in enumerate(self.shares))

    @property
    def seconds(self) -> float:
        """Mean time of a request in it (Little: number = arrivals x time)."""
        return self.number / (self.arrivals * (1 - self.refused))

    def above(self, n: int) -> float:
        """Share of the time with more than `n` requests in it."""
        return math.fsum(self.shares[n + 1 :])


def steady(arrivals: float, rates: Sequence[float], waiting: int) -> Steady:
    """A birth-death queue: `rates[n - 1]` leave per second while n run; `waiting` more may wait, others are refused.

    With one rate this is M/M/1/K, with rates in proportion to n Erlang's C; for processor sharing it holds whatever the
    distribution of the work.
    """
    if arrivals <= 0 or not rates or min(rates) <= 0:
        raise InvalidArgument("arrivals", f"are {arrivals} at rates {list(rates)[:3]}, must all be above 0")
    logs = [0.0]
    for n in range(len(rates) + waiting):
        logs.append(logs[-1] + math.log(arrivals / rates[min(n, len(rates) - 1)]))
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    total = max(math.fsum(weights), _SMALL)
    return Steady(tuple(weight / total for weight in weights), arrivals, len(rates))


@dataclass(frozen=True)
class Limits:
    """What users shall see: `token` seconds between tokens for 95 % of the time; at most such a share `refused`;
    a replica is `busy` at most that share of the time, so that it can take a dead one's work."""

    token: float = 0.2
    refused: float = 0.001
    busy: float = 1.0


@lru_cache(maxsize=64)
def bearable(replica: Replica, work: Workload, limits: Limits) -> float:
    """Requests per second that one replica takes within limits, of its share of a large stream. 0: not even one."""
    rates = replica.rates(work)
    quick = [n for n in range(1, len(rates) + 1) if replica.token_time(n, work) <= limits.token]
    if not quick:
        return 0.0

    def holds(arrivals: float) -> bool:
        found = steady(arrivals, rates, replica.waiting)
        return found.above(quick[-1]) <= 0.05 and found.refused <= limits.refused and found.busy <= limits.busy

    low, high = 0.0, max(rates)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle > 0 and holds(middle) else (low, middle)
    return low
