"""Replicas check each other: since all give the same bits, one that differs has a fault, and is taken out.

Before it gets requests and then again and again, each replica answers a question whose digest is known; and a share of
the answers is computed once more by another replica, which finds what no fixed question would.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .replicas import Replica, Replicas
from .settings import EdgeSettings
from .telling import Telling

_MOST_WAITING = 256
_TIMEOUT = aiohttp.ClientTimeout(total=120)
_BUSY_SECONDS = 5.0  # that a check waits for a replica with nothing else to do
_POLL_SECONDS = 0.2
_N_KEPT = 4  # answers that a replica must compute alike before it gets requests
# Without adapter, and with a deadline, so that it is computed and not given again.
_QUESTION = {
    "prompt": "Once upon a time", "max_tokens": 16, "temperature": 1, "seed": 1, "ignore_eos": True, "adapter": None,
    "deadline": 60,
}  # fmt: skip
_FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class Sample:
    """An answer to be computed once more. `headers`: what the client was known by."""

    origin: Replica
    id: str
    headers: dict[str, str] = field(repr=False)


class Auditor:
    """Checks an edge's replicas."""

    def __init__(
        self, settings: EdgeSettings, replicas: Replicas, session: aiohttp.ClientSession, telling: Telling
    ) -> None:
        self._settings = settings
        self._replicas = replicas
        self._session = session
        self._telling = telling
        self._waiting: deque[Sample] = deque(maxlen=_MOST_WAITING)
        self._kept: deque[dict[str, Any]] = deque(maxlen=_N_KEPT)  # receipts without mismatch
        self._disputed: deque[tuple[dict[str, Any], bool]] = deque(maxlen=_N_KEPT)  # with one; whether they are right
        self._digests: dict[str, dict[str, str]] = {}  # of a model: what each replica answered
        replicas.admit = self.admit

    def offer(self, origin: Replica, id: str, headers: Mapping[str, str]) -> None:
        """An answer that may be computed once more."""
        if random.random() < self._settings.verify:
            known = {name: headers[name] for name in ("authorization", "x-api-key") if name in headers}
            self._waiting.append(Sample(origin, id, known))

    async def run(self) -> None:
        """Check, as long as the edge is open."""
        await asyncio.gather(self._verify_samples(), self._ask_all())

    async def admit(self, replica: Replica) -> str:
        """Why a replica may get no requests, although it says that it is like the others; "": it may."""
        try:
            for model in replica.models:
                if why := await self._ask(replica, model):
                    return why
            for receipt, is_right in (*self._disputed, *((receipt, True) for receipt in self._kept)):
                if (said := await self._verify(replica, receipt)) and said["verified"] != is_right:
                    return f"an earlier answer: {said['message'] or 'it verifies what others found wrong'}"
        except _FAULTS as error:
            return f"it did not answer a question whose answer is known: {error or type(error).__name__}"
        return ""

    async def _ask_all(self) -> None:
        """The question whose answer is known, to each replica in turn."""
        while True:
            await asyncio.sleep(self._settings.canary)
            for replica in self._replicas.ready:
                for model in replica.models:
                    with suppress(*_FAULTS):  # a replica that does not answer is looked at elsewhere
                        if why := await self._ask(replica, model):
                            self._replicas.out(replica, why)

    async def _ask(self, replica: Replica, model: str) -> str:
        """How its answer to the question differs from the others'; "": in nothing."""
        body = _QUESTION | {"model": model}
        url, headers = f"{replica.url}/v1/completions", self._replicas.headers
        async with self._session.post(url, json=body, headers=headers, timeout=_TIMEOUT) as response:
            if response.status != 200:
                raise ValueError(f"POST /v1/completions gives {response.status}")
            digest = str((await response.json())["flyball"]["digest"])
        known = f"{replica.models[model]} {replica.said['settings']}"  # which leave open what the question does
        digests = self._digests.setdefault(known, {})
        digests.pop(replica.url, None)
        digests[replica.url] = digest
        return self._judge(digests, replica)

    def _judge(self, digests: dict[str, str], replica: Replica) -> str:
        """More than half of at least three are right; of two, the one that answered first."""
        (most, n), *_ = Counter(digests.values()).most_common()
        right = most if 2 * n > len(digests) else next(iter(digests.values()))
        for other in self._replicas.ready:
            if other is not replica and digests.get(other.url, right) != right:
                self._replicas.out(other, "its answer to a known question is not the others'")
        if digests[replica.url] == right:
            return ""
        return f"its answer to a known question has digest {digests[replica.url][:16]}, the others' {right[:16]}"

    async def _verify_samples(self) -> None:
        while True:
            if not self._waiting:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            sample = self._waiting.popleft()
            result = "undecided"
            with suppress(*_FAULTS):
                result = await self._verify_sample(sample)
            self._telling.verified.labels(result).inc()

    async def _verify_sample(self, sample: Sample) -> str:
        """verified, mismatch, or undecided where nobody could say."""
        checker = await self._idle(sample.origin)
        if checker is None:
            return "undecided"
        async with self._session.get(
            f"{sample.origin.url}/v1/receipts/{sample.id}", headers=sample.headers, timeout=_TIMEOUT
        ) as response:
            if response.status != 200:
                return "undecided"
            receipt = (await response.json())["receipt"]
        said = await self._verify(checker, receipt, sample.headers)
        if said is None:
            return "undecided"
        if said["verified"]:
            self._kept.append(receipt)
            return "verified"
        await self._settle(sample, receipt, checker, said)
        return "mismatch"

    async def _idle(self, but: Replica) -> Replica | None:
        """Another replica, one that has nothing to do if there is one within a while."""
        others: list[Replica] = []
        for _ in range(int(_BUSY_SECONDS / _POLL_SECONDS)):
            others = [replica for replica in self._replicas.ready if replica is not but]
            idle = [replica for replica in others if not replica.doing]
            if idle:
                return random.choice(idle)
            await asyncio.sleep(_POLL_SECONDS)
        return min(others, key=lambda replica: len(replica.doing), default=None)

    async def _verify(
        self, replica: Replica, receipt: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """What a replica says of a receipt; None: it cannot say."""
        url, headers = f"{replica.url}/v1/verify", headers or self._replicas.headers
        async with self._session.post(url, json={"receipt": receipt}, headers=headers, timeout=_TIMEOUT) as response:
            return await response.json() if response.status == 200 else None

    async def _settle(self, sample: Sample, receipt: dict[str, Any], checker: Replica, said: dict[str, Any]) -> None:
        """Whose fault a mismatch is: all replicas compute the answer once more."""
        votes = {checker: said}
        for replica in self._replicas.ready:
            if replica not in votes:
                with suppress(*_FAULTS):
                    if (vote := await self._verify(replica, receipt, sample.headers)) is not None:
                        votes[replica] = vote
        against = [replica for replica, vote in votes.items() if not vote["verified"]]
        what = f"answer {sample.id}, position {said['position']}: {said['message']}"
        own = votes.get(sample.origin)
        if 2 * len(against) > len(votes) or (own is not None and not own["verified"]):
            # Most of them say so, or it does not compute its own answer once more.
            self._disputed.append((receipt, False))
            self._replicas.out(sample.origin, what)
        elif 2 * len(against) < len(votes):
            self._disputed.append((receipt, True))
            for replica in against:
                self._replicas.out(replica, what)
        else:
            urls = [sample.origin.url, checker.url]
            self._telling.mismatches.inc()
            what = f"{what}; one of two replicas is at fault, and a third one could say which"
            self._telling.alert("verification", "critical", "REPLICA_MISMATCH", replica=urls, observed=what)
