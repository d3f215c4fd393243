"""Time tells a project nothing of another's prompts.

A pair of requests: a prompt that another project has just asked, and one of the same length that nobody has. Which is
answered first is a coin's throw, or else the cache of prompts tells. The same project's repetition is the control: it
must be seen to be faster, so that the test could have seen a leak.
"""

from __future__ import annotations

import os
import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from math import comb
from pathlib import Path

import httpx
import pytest

import flyball
from flyball.serve.app import create_app
from flyball.store import Store

from .worlds import World, server_of

PAIRS = int(os.environ.get("FLYBALL_TIMING_PAIRS", "40"))
FALSE_ALARM = 1e-4  # of a test of a server that tells nothing
POWER = 0.99
WORDS = ["mill", "crow", "river", "stone", "lamp", "tree", "house", "road", "bird", "rain", "boat", "field"]


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path()) as loaded:
        yield loaded


def at_least(k: int, n: int, share: float) -> float:
    """The chance of k or more of n."""
    return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1))


def suspicious(n: int) -> int:
    """How many of n pairs may be faster, at most, where a coin decides."""
    return next(k for k in range(n // 2, n + 2) if at_least(k, n, 0.5) < FALSE_ALARM / 2)


def seen(n: int) -> float:
    """The least share of faster pairs that n pairs show with POWER."""
    k = suspicious(n)
    return bisect_left(range(1001), POWER, 500, key=lambda share: at_least(k, n, share / 1000)) / 1000


def test_what_so_many_pairs_can_see() -> None:
    assert seen(40) <= 0.95
    assert seen(600) <= 0.64
    assert at_least(suspicious(600), 600, 0.5) < FALSE_ALARM


@pytest.mark.soak
def test_a_prompt_of_another_project_takes_as_long_as_any(model: flyball.Model, tmp_path: Path) -> None:
    """FLYBALL_TIMING_PAIRS=600 shows with power 0.99 where 64 of 100 pairs would be faster; 40 pairs, 95."""
    randomly = random.Random(7)

    def prompt() -> str:
        return " ".join(randomly.choices(WORDS, k=120))

    async def took(client: httpx.AsyncClient, text: str) -> tuple[float, int]:
        body = {"prompt": text, "max_tokens": 1, "temperature": 0}
        begun = time.perf_counter()
        said = await client.post("/v1/completions", json=body)
        seconds = time.perf_counter() - begun
        assert said.status_code == 200, said.text
        return seconds, said.json()["usage"]["prompt_tokens_details"]["cached_tokens"]

    async def work() -> tuple[int, int]:
        n_foreign = n_own = 0
        async with world.client(world.token("theirs")) as them, world.client(world.token("mine")) as me:
            for _ in range(PAIRS):
                known, fresh = prompt(), prompt()
                await took(them, known)
                order = [known, fresh]
                randomly.shuffle(order)
                times = {text: await took(me, text) for text in order}
                assert times[known][1] == times[fresh][1] == 0
                n_foreign += times[known][0] < times[fresh][0]
                again, n_cached = await took(them, known)
                assert n_cached > 0
                n_own += again < times[fresh][0]
        return n_foreign, n_own

    with Store.open(tmp_path / "a.sqlite", instance="one") as store:
        for name in ("mine", "theirs"):
            store.create_project(name)
        server = server_of(model, store)
        world = World(store, create_app(server))
        n_foreign, n_own = world.run(work)
        server.records.close()
    assert n_own >= seen(PAIRS) * PAIRS, f"a repetition is faster in {n_own} of {PAIRS} pairs: nothing could be seen"
    low = PAIRS - suspicious(PAIRS)
    assert low < n_foreign < suspicious(PAIRS), f"{n_foreign} of {PAIRS} pairs are faster"
