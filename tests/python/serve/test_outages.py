"""PostgreSQL and Redis go away under load, and come back: what was promised holds, and nothing acknowledged is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from flyball.store import Store
from tests.python.response_cache.conftest import Redis
from tests.python.response_cache.conftest import redis as redis  # the fixture
from tests.python.store.conftest import Postgres, running_postgres

from .conftest import WAIT, Running, Start

CHAT = {"messages": [{"role": "user", "content": "Tell me a story."}], "ignore_eos": True, "max_tokens": 30}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One whose commits outlive it."""
    with running_postgres(synchronous_commit="on") as server:
        yield server


@dataclass
class Load:
    """Clients that ask all the time: chats, ratings, files."""

    server: Running
    is_over: bool = False
    receipts: list[str] = field(default_factory=list)  # of answers that were given
    rated: list[str] = field(default_factory=list)  # that the server said it has
    files: list[str] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # other statuses, each of which says when to come again
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(4)]
        for thread in self.threads:
            thread.start()

    def _run(self, seed: int) -> None:
        n = 0
        with self.server.client() as client:
            while not self.is_over:
                n += 1
                self._chat(client, 1_000_000 * seed + n)
                uploaded = client.post("/v1/files", files={"file": ("a.jsonl", b"{}\n")}, data={"purpose": "batch"})
                if uploaded.status_code == 200:
                    self.files.append(uploaded.json()["id"])
                else:
                    self._refused(uploaded)

    def _chat(self, client: httpx.Client, seed: int) -> None:
        answer = client.post("/v1/chat/completions", json=CHAT | {"seed": seed})
        if answer.status_code != 200:
            self._refused(answer)
            return
        receipt = answer.json()["flyball"]["receipt"]
        self.receipts.append(receipt)
        rated = client.post("/v1/feedback", json={"id": receipt, "rating": "good"})
        if rated.status_code == 200:
            self.rated.append(receipt)
        else:
            self._refused(rated)

    def _refused(self, response: httpx.Response) -> None:
        self.refused.append(response.status_code)
        if response.status_code != 503 or "retry-after" not in response.headers:
            self.faults.append(f"{response.request.url.path}: {response.status_code} {response.text[:200]}")

    def end(self) -> None:
        self.is_over = True
        for thread in self.threads:
            thread.join(WAIT)


def test_postgresql_is_killed_and_started_again(start: Start, postgres: Postgres) -> None:
    """Twice, once for longer than requests wait. Answers go on; what needs the store is refused until it is back."""
    url = postgres.new_database()
    server = start("--set", f"serve.store={url}", "--set", "serve.receipt_hours=1")
    load = Load(server)
    try:
        for seconds in (0.5, 8.0):
            time.sleep(2)
            postgres.stop(signal.SIGQUIT)
            n_before = len(load.receipts)
            time.sleep(seconds)
            postgres.start()
            time.sleep(3)
            assert len(load.receipts) > n_before
    finally:
        load.end()
    assert load.faults == []
    assert server.stop() == 0  # what waited for the store is in it
    with Store.open(url) as store:
        project = store.project()
        missing = [receipt for receipt in load.receipts if project.receipts.get(receipt) is None]
        assert (missing, len(load.receipts) > 20) == ([], True)
        assert [each for each in load.files if project.files.get(each) is None] == []
        votes = {vote.request_id for vote in project.feedback.between(0, 1 << 60)}
        assert set(load.rated) <= votes
    counts = {name: len(getattr(load, name)) for name in ("receipts", "rated", "files", "refused")}
    print(counts)


def test_keys_without_their_store(start: Start, postgres: Postgres) -> None:
    """A stored key that was checked is good for a moment, then it is 503; never a wrong 401, and never open."""
    url = postgres.new_database()
    with Store.open(url) as store:
        secret = store.project().keys.create("a").secret
    server = start("--set", f"serve.store={url}")
    headers = {"authorization": f"Bearer {secret}"}
    assert server.get("/v1/models", headers=headers).status_code == 200
    postgres.stop(signal.SIGQUIT)
    try:
        deadline = time.monotonic() + WAIT
        while (known := server.get("/v1/models", headers=headers)).status_code == 200:
            assert time.monotonic() < deadline
        assert known.status_code == 503
        assert "retry-after" in known.headers
        for wrong in ({}, {"authorization": "Bearer fb-wrong"}):
            assert server.get("/v1/models", headers=wrong).status_code in (401, 503)
        assert server.get("/health").status_code == 200
    finally:
        postgres.start()
    deadline = time.monotonic() + WAIT
    while server.get("/v1/models", headers=headers).status_code != 200:
        assert time.monotonic() < deadline
    assert server.get("/v1/models", headers={"authorization": "Bearer fb-wrong"}).status_code == 401


def test_redis_is_killed_and_started_again(start: Start, redis: Redis) -> None:
    """Answers are computed where none is found, and are the same."""
    server = start("--set", f"serve.response_cache={redis.url}")
    expected: dict[int, str] = {}
    statuses: set[int] = set()
    said: list[str] = []

    def ask(seed: int) -> None:
        response = server.post("/v1/chat/completions", CHAT | {"seed": seed, "max_tokens": 8})
        statuses.add(response.status_code)
        body: dict[str, Any] = response.json()
        assert expected.setdefault(seed, body["flyball"]["digest"]) == body["flyball"]["digest"]
        said.append(response.headers["flyball-cache"])

    for _ in range(2):
        for seed in range(5):
            ask(seed)
    assert "hit" in said
    redis.kill()
    for seed in range(5):
        ask(seed)
    redis.start()
    deadline = time.monotonic() + WAIT
    said.clear()
    while "hit" not in said:
        assert time.monotonic() < deadline
        for seed in range(5):
            ask(seed)
    assert statuses == {200}
