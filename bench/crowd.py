"""Connections that do nothing, and readers that do not read: what they do to those who do.

    .venv/bin/python -m bench.crowd [MODEL.gguf] [--idle 2000] [--readers 500] [--requests 30]

First answers are asked for one after the other by one client, then the same beside the crowd, then after it has gone.
All three must be the same; times, private memory (RssAnon + VmSwap) and open files are told. The exit code is 1 if
answers differ, or if anything is left of the crowd after it has gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import flyball
from flyball.load.wire import Connection

from .processes import Server
from .stalls import at

CHAT = "/v1/chat/completions"
_WAIT = 600.0  # seconds for the readers' answers, and for the end of what they left
_FILES_KEPT = 8


def body(number: int, **more: Any) -> dict[str, Any]:
    """A short question."""
    return {
        "messages": [{"role": "user", "content": f"{number} and {number}?"}],
        "seed": number,
        "max_tokens": 16,
    } | more


async def probe(server: Server, name: str, n: int) -> list[str]:
    """Ask, and tell how long it took; the answers' digests."""
    connection = await Connection.open(server.url)
    digests, seconds = [], []
    for number in range(n):
        start = time.perf_counter()
        said = json.loads(await connection.ask("POST", CHAT, body(number)))
        seconds.append(time.perf_counter() - start)
        digests.append(said["flyball"]["digest"])
    connection.close()
    print(
        f"{name}: an answer takes p50 {1e3 * at(seconds, 0.5):.1f}, p95 {1e3 * at(seconds, 0.95):.1f} ms;"
        f" {server.private_bytes() >> 20} MiB, {server.n_files()} files",
        flush=True,
    )
    return digests


def connect(url: str) -> socket.socket:
    """A connection with the smallest buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((urlsplit(url).hostname, urlsplit(url).port))
    return sock


def ask_unread(url: str, number: int) -> socket.socket:
    """Ask for an answer that is larger than the system's buffers, and read nothing."""
    raw = json.dumps(
        body(number, max_tokens=200, ignore_eos=True, stream=True, logprobs=True, top_logprobs=20)
    ).encode()
    sock = connect(url)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    sock.sendall(head.encode() + b"\r\n\r\n" + raw)
    return sock


async def until(server: Server, what: str, member: str, value: int, least: int = 0) -> None:
    """Wait until a count of the status has a value."""
    end = time.monotonic() + _WAIT
    connection = await Connection.open(server.url)
    while True:
        found = json.loads(await connection.ask("GET", "/v1/status"))["requests"]
        if found[member] == value and found["finished"] + found["canceled"] >= least and found["waiting"] == 0:
            return connection.close()
        if time.monotonic() > end:
            sys.exit(f"{what}: {found}")
        await asyncio.sleep(0.2)


async def run(server: Server, args: argparse.Namespace) -> None:
    """The three parts."""
    alone = await probe(server, "alone", args.requests)
    n_files = server.n_files()
    crowd = [connect(server.url) for _ in range(args.idle)]
    crowd += [ask_unread(server.url, 1000 + number) for number in range(args.readers)]
    while server.n_files() < n_files + args.idle + args.readers:
        await asyncio.sleep(0.1)
    await until(server, "the readers' answers are not complete", "running", 0)
    beside = await probe(server, "beside all that idle and do not read", args.requests)
    for sock in crowd:
        sock.close()
    await until(
        server, "answers are left of readers that have gone", "running", 0, least=2 * args.requests + args.readers
    )
    await asyncio.sleep(1)
    after = await probe(server, "after they have gone", args.requests)
    if not alone == beside == after:
        sys.exit("the answers differ")
    if server.n_files() > n_files + _FILES_KEPT:
        sys.exit(f"{server.n_files() - n_files} files are left open")


def main() -> None:
    parser = argparse.ArgumentParser(description="a crowd that does nothing")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--requests", type=int, default=30)
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Server.started(args.model, "--set", f"serve.waiting={args.readers + 64}") as server:
        asyncio.run(run(server, args))


if __name__ == "__main__":
    main()
