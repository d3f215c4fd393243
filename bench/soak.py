"""Use a server badly for a while: what is left of it afterwards is what leaks.

    .venv/bin/python -m bench.soak [--minutes 10] [--warm-up 0.25] [--clients 6] [--seed 1]

Clients ask, stream, leave in every phase (while they send, wait, get tokens, or read nothing), send bodies that are
wrong, ask for a model that is loaded and unloaded, resume streams, and have receipts verified. Afterwards nothing may
run or wait, every receipt must have verified, and the private memory (RssAnon + VmSwap) may have grown by at most 2 %
(--growth) beyond its largest value at the end of the warm-up, which is a share of the time. The exit code is 1
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import flyball
from flyball.load.wire import Connection

from .processes import Server

CHAT = "/v1/chat/completions"
_WAIT = 120.0  # seconds for one request, and for the end of what runs
_SAMPLE = 0.2  # of receipts that are verified
_BAD = (
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages": 1}', b'{"messages": []}',
    b'{"messages": [{"role": "user"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', b'{"a":' * 200, b"x" * 100_000,
    b'{"messages": [{"role": "user", "content": "x"}], "model": "nobody"}',
)  # fmt: skip


class Soak:
    """The clients, and what they have seen."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.actions: tuple[Callable[[Connection], Awaitable[None]], ...] = (
            self.whole, self.stream, self.leave, self.leave, self.half_sent, self.bad_body, self.reload, self.resume,
        )  # fmt: skip

    def body(self, **more: Any) -> dict[str, Any]:
        """A question; one in ten has a long prompt."""
        words = self.chance.choice((3, 3, 3, 3, 3, 3, 3, 3, 3, 60))
        text = " ".join(str(self.chance.randrange(100)) for _ in range(words))
        return {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.chance.randrange(1, 120),
            "ignore_eos": self.chance.random() < 0.5,
            "seed": self.chance.randrange(1 << 30),
        } | more

    async def client(self, end: float) -> None:
        """Act until the end."""
        while time.monotonic() < end:
            action = self.chance.choice(self.actions)
            try:
                async with asyncio.timeout(_WAIT):
                    connection = await Connection.open(self.url)
                    try:
                        await action(connection)
                    finally:
                        connection.close()
                self.counts[action.__name__] += 1
            except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
                self.wrong.append(f"{action.__name__}: {type(error).__name__} {error}")

    async def whole(self, connection: Connection) -> None:
        """An answer in one piece; some are verified."""
        said = json.loads(await connection.ask("POST", CHAT, self.body()))
        self.expect(connection.status == 200, f"whole: {connection.status} {said}")
        if self.chance.random() < _SAMPLE:
            await self.verify(connection, said["flyball"]["receipt"])

    async def stream(self, connection: Connection) -> None:
        """All events of a stream."""
        connection.send("POST", CHAT, self.body(stream=True))
        self.expect(await connection.head() == 200, f"stream: {connection.status}")
        events = [event async for event in connection.events()]
        self.expect("flyball" in events[-1], f"stream: ended with {events[-1]}")
        if self.chance.random() < _SAMPLE:
            await self.verify(connection, events[-1]["flyball"]["receipt"])

    async def verify(self, connection: Connection, identity: str) -> None:
        """Have the server compute an answer again."""
        said = json.loads(await connection.ask("POST", "/v1/verify", {"id": identity}))
        self.counts["verified"] += bool(said.get("verified"))
        self.expect(said.get("verified") is True, f"verify: {connection.status} {said}")

    async def leave(self, connection: Connection) -> None:
        """Go: before the answer, in its prompt, or after some tokens."""
        streams = self.chance.random() < 0.7
        connection.send("POST", CHAT, self.body(stream=streams, max_tokens=400, ignore_eos=True))
        await connection.writer.drain()
        if streams and self.chance.random() < 0.5 and await connection.head() == 200:
            left = self.chance.randrange(20)
            async for _ in connection.chunks():
                left -= 1
                if left < 0:
                    return
        else:
            await asyncio.sleep(self.chance.choice((0, 0.001, 0.01, 0.1)))

    async def half_sent(self, connection: Connection) -> None:
        """Go in the middle of the request."""
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 500"
        raw = head.encode() + b"\r\n\r\n{"
        connection.writer.write(raw[: self.chance.randrange(1, len(raw) + 1)])
        await connection.writer.drain()

    async def bad_body(self, connection: Connection) -> None:
        """What cannot be answered."""
        await connection.ask("POST", CHAT, self.chance.choice(_BAD), {"content-type": "application/json"})
        self.expect(400 <= connection.status < 500, f"bad body: {connection.status}")

    async def reload(self, connection: Connection) -> None:
        """The model that does not stay: load it for an answer, and send it away."""
        body = {
            "model": "other",
            "stream": False,
            "keep_alive": self.chance.choice((0, 1)),
            "options": {"num_predict": 4},
        }
        body["messages"] = self.body()["messages"]
        said = await connection.ask("POST", "/api/chat", body)
        self.expect(connection.status == 200, f"reload: {connection.status} {said!r}")

    async def resume(self, connection: Connection) -> None:
        """Leave a stream, and get the rest of it: together they are all events."""
        key = {"idempotency-key": f"{self.chance.random()}"}
        body = self.body(stream=True)
        connection.send("POST", CHAT, body, key)
        await connection.head()
        raw, wanted = b"", self.chance.randrange(1, 8)
        async for chunk in connection.chunks():
            raw += chunk
            if raw.count(b"id: ") >= wanted:  # heartbeats have none
                break
        connection.close()
        *_, last = (line for line in raw.split(b"\n") if line.startswith(b"id: "))
        again = await Connection.open(self.url)
        again.send("POST", CHAT, body, key | {"last-event-id": last[4:].decode()})
        self.expect(await again.head() == 200, f"resume: {again.status}")
        rest = await again.whole()
        again.close()
        self.expect(rest.endswith(b"data: [DONE]\n\n"), f"resume: ended with {rest[-80:]!r}")
        self.expect(last not in rest.split(b"\n"), "resume: an event came twice")

    def expect(self, true: bool, what: str) -> None:
        """Note what is wrong."""
        if not true:
            self.wrong.append(what)


async def status(url: str) -> dict[str, Any]:
    """What the server says of itself."""
    connection = await Connection.open(url)
    found: dict[str, Any] = json.loads(await connection.ask("GET", "/v1/status"))
    connection.close()
    return found


async def until_idle(url: str) -> dict[str, int]:
    """Wait until nothing runs and nothing waits; what does after a while is stuck."""
    end = time.monotonic() + _WAIT
    while True:
        found: dict[str, int] = (await status(url))["requests"]
        if not found["running"] + found["waiting"] or time.monotonic() > end:
            return found
        await asyncio.sleep(0.2)


async def run(server: Server, args: argparse.Namespace) -> bool:
    """Soak, and judge; True if all is well."""
    soak = Soak(server.url, args.seed)
    start = time.monotonic()
    end = start + 60 * args.minutes
    warm = 60 * args.minutes * args.warm_up
    samples: list[tuple[float, int]] = []

    async def watch() -> None:
        while True:
            samples.append((time.monotonic() - start, server.private_bytes()))
            await asyncio.sleep(min(1, warm / 10))

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(soak.client(end) for _ in range(args.clients)))
    watching.cancel()
    left = await until_idle(server.url)
    at_first = [size for at, size in samples if 0.6 * warm <= at <= warm]
    at_last = [size for at, size in samples if at >= samples[-1][0] - 0.4 * warm]
    growth = statistics.median(at_last) / max(at_first) - 1
    print(", ".join(f"{name} {n}" for name, n in sorted(soak.counts.items())))
    print(f"requests: {left}; open files {server.n_files()}")
    print(f"private memory: {max(at_first) >> 20} MiB when warm, {int(statistics.median(at_last)) >> 20} at the end,"
          f" {growth:+.1%}; most {max(size for _, size in samples) >> 20}")  # fmt: skip
    for what, n in Counter(soak.wrong).most_common(10):
        print(f"WRONG, {n} times: {what[:300]}")
    return not soak.wrong and not left["running"] + left["waiting"] and growth <= args.growth


def main() -> None:
    parser = argparse.ArgumentParser(description="a server that is used badly")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=0.25, help="share of the time")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--growth", type=float, default=0.02, help="share that private memory may grow by")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(flyball.demo_model_path(), Path(folder) / "other.gguf")
        with Server.started(str(flyball.demo_model_path()), "--set", f"serve.models={folder}") as server:
            well = asyncio.run(run(server, args))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
