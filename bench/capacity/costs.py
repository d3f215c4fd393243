"""What does not depend on a model: choices, looks, a store, a cache. Processor time where it can be told."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.processes import Program
from flyball.load import process
from flyball.scale.choosing import chosen
from flyball.scale.replicas import Replicas
from flyball.scale.settings import EdgeSettings
from flyball.scale.telling import Telling
from flyball.store import Request, Store

_LOOKS, _QUESTIONS = 600, 40
_RECEIPT = json.dumps({"tokens": list(range(600)), "digest": "0" * 64})  # of the size of a common one


@dataclass
class _Standing:
    url: str
    doing: list[None] = field(default_factory=list)


def choice(n: int) -> float:
    """Seconds of processor time for the choice of one of `n` replicas, for each of them."""
    ready = [
        _Standing(f"http://10.0.{number // 256}.{number % 256}:8080", [None] * (number % 3)) for number in range(n)
    ]
    times = max(20, 20_000 // n)
    begun = time.process_time()
    for number in range(times):
        chosen(number.to_bytes(16, "big"), ready)
    return (time.process_time() - begun) / times / n


async def looks() -> dict[str, float]:
    """A look, for the edge and for the replica; and the question whose answer is known, for the replica."""
    with Program("serve", "--threads", "1", "--set", "tune=off") as program:
        pid = process.listener(program.url)
        assert pid is not None
        async with aiohttp.ClientSession() as session:
            replicas = Replicas(EdgeSettings(replicas=(program.url,)), session, Telling(""))
            (replica,) = replicas.all
            await replicas.look(replica)
            of_edge, of_replica = time.process_time(), process.cpu_seconds(pid)
            for _ in range(_LOOKS):
                await replicas.look(replica)
            of_edge, of_replica = time.process_time() - of_edge, process.cpu_seconds(pid) - of_replica
            if replica.state != "ready":
                raise SystemExit(f"the replica is {replica.state}: {replica.why}")
            url, body = f"{program.url}/v1/completions", {"prompt": "Once upon a time", "max_tokens": 16, "seed": 1}
            before = process.cpu_seconds(pid)
            for number in range(_QUESTIONS):
                async with session.post(url, json=body | {"deadline": 60, "seed": number}) as response:
                    await response.read()
            question = process.cpu_seconds(pid) - before
    return {"look": of_edge / _LOOKS, "replica_look": of_replica / _LOOKS, "question": question / _QUESTIONS}


def store(url: str, together: int, pid: int) -> dict[str, float | None]:
    """One writer that keeps answers as a server does: begun, then done with receipt and counts; so many at once.

    `pid`: the database's first process, 0: none is known. Seconds for each answer, by the clock and of its processors.
    """
    with Store.open(url) as opened:
        project, run, n = opened.project(), secrets.token_hex(4), max(200, 6 * together)

        def begin(id: str) -> None:
            project.requests.begin(Request(id=id, api="openai", model="demo", state="running"))

        def end(id: str) -> None:
            project.requests.finish(id, "done", n_prompt_tokens=400, n_generated_tokens=150)
            project.receipts.put(id, _RECEIPT)
            project.performance.add(
                "f", n_answers=1, n_prompt_tokens=400, n_generated_tokens=150, prefill_cycles=1, decode_cycles=1,
                first_token_ms=[1],
            )  # fmt: skip

        used, begun = _used(pid), time.perf_counter()
        for first in range(0, n, together):
            for work in (begin, end):
                _together(opened, [f"{run}-{number}" for number in range(first, min(n, first + together))], work)
        took, used = time.perf_counter() - begun, _used(pid) - used
        return {"seconds": took / n, "processor_seconds": used / n if pid else None}


def _used(pid: int) -> float:
    found = process.usage(pid, 0.0) if pid else None
    return found.cpu_seconds if found else 0.0


def _together(opened: Store, ids: list[str], work: Callable[[str], None]) -> None:
    with opened.together():
        for id in ids:
            work(id)


def redis(url: str, n: int = 20_000) -> float:
    """Operations of 4 KiB a second that Redis would take, by its own processor time."""
    from redis import Redis

    client = Redis.from_url(url)

    def used() -> float:
        info: Any = client.info("cpu")
        return float(info["used_cpu_user"] + info["used_cpu_sys"])

    before, value = used(), b"x" * 4096
    for number in range(n // 2):
        client.set(f"capacity:{number % 64}", value, ex=60)
        client.get(f"capacity:{number % 64}")
    return n / (used() - before)


def all_costs(store_urls: dict[str, str], store_pid: int, redis_url: str) -> dict[str, Any]:
    """Of all of them."""
    found: dict[str, Any] = {"choice": {str(n): choice(n) for n in (10, 100, 1000)}, **asyncio.run(looks())}
    found["stores"] = {
        name: {str(together): store(url, together, store_pid) for together in (1, 20, 256)}
        for name, url in store_urls.items()
    }
    found["redis_operations"] = redis(redis_url) if redis_url else None
    return found
