"""Streams through an edge whose replicas are killed: does each end with the text and digest of an undisturbed run?

    .venv/bin/python -m bench.survival [--replicas 3] [--streams 60] [--every 10] [--minutes 5] [--behind nginx|ray]

Every so many seconds one of the replicas, by turns, is killed (SIGKILL) and started again. Each of the streams runs
again and again, each time with a seed of its own. Afterwards one process computes all seeds once more, undisturbed.
With `--behind`, the edge knows one address alone, that of a balancer before the replicas; Ray Serve, which needs the
extra flyball[ray], also takes the place of those that were killed.

Exit code 0: no stream was lost, and each has the text (nothing lost or doubled) and the digest of its seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import flyball
from flyball.load.wire import Connection

from .processes import Program, free_port

MESSAGES = [{"role": "user", "content": "Tell me a story."}]
BODY = {"messages": MESSAGES, "stream": True, "ignore_eos": True, "max_tokens": 300, "temperature": 1.0}
_SEED_STEP = 1_000_000
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream replicas {{ {servers} keepalive 128; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1;
      proxy_buffering off; proxy_request_buffering on; client_max_body_size 32m; proxy_read_timeout 600s;
      # A question has one answer, whoever gets it, and however often: its Idempotency-Key says which.
      proxy_next_upstream error timeout http_502 http_503 non_idempotent; proxy_next_upstream_tries 3;
    }}
  }}
}}
"""


@dataclass
class Stream:
    """What a client got for a seed."""

    seed: int
    text: str = ""
    digest: str = ""
    error: str = ""
    longest_pause: float = 0.0  # between two events, in seconds


@dataclass
class Run:
    """All that was streamed, and when replicas were killed."""

    streams: list[Stream] = field(default_factory=list)
    killed: list[float] = field(default_factory=list)


async def stream(url: str, seed: int) -> Stream:
    """One stream."""
    found = Stream(seed)
    connection = await Connection.open(url)
    try:
        connection.send("POST", "/v1/chat/completions", BODY | {"seed": seed})
        if await connection.head() != 200:
            found.error = f"status {connection.status}: {(await connection.whole())[:200]!r}"
            return found
        last = time.monotonic()
        async for event in connection.events():
            now = time.monotonic()
            found.longest_pause, last = max(found.longest_pause, now - last), now
            if "error" in event:
                found.error = json.dumps(event["error"])
                return found
            found.text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
            found.digest = event.get("flyball", {}).get("digest", found.digest)
        found.error = "" if found.digest else "it ended without a digest"
    except Exception as error:
        found.error = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return found


async def client(url: str, number: int, end: float, run: Run) -> None:
    """One stream after the other."""
    seed = number * _SEED_STEP
    while time.monotonic() < end:
        run.streams.append(await stream(url, seed))
        seed += 1


class Actors:
    """The replicas of a cluster of Ray Serve on this machine."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def kill(self) -> None:
        """SIGKILL one of them."""
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and _is_actor(path)]
        if found:
            os.kill(self._random.choice(sorted(found)), signal.SIGKILL)

    def start(self) -> None:
        """Ray does it."""


def _is_actor(path: Path) -> bool:
    try:
        return (path / "cmdline").read_bytes().startswith(b"ray::ServeReplica:flyball")
    except OSError:  # it has ended
        return False


async def killer(replicas: Sequence[Program | Actors], every: float, end: float, run: Run) -> None:
    """Kill one of them, by turns, and start it again."""
    n = 0
    while time.monotonic() + every < end:
        await asyncio.sleep(every)
        replica = replicas[n % len(replicas)]
        n += 1
        replica.kill()
        run.killed.append(time.monotonic())
        await asyncio.to_thread(replica.start)
        print(f"  killed {n}, {len(run.streams)} streams so far", flush=True)


async def measure(edge: str, replicas: Sequence[Program | Actors], args: argparse.Namespace) -> Run:
    run = Run()
    end = time.monotonic() + 60 * args.minutes
    clients = [client(edge, number, end, run) for number in range(args.streams)]
    await asyncio.gather(killer(replicas, args.every, end, run), *clients)
    return run


def judge(run: Run) -> bool:
    """Compare with an undisturbed run, and print what was found."""
    model = flyball.Model.load(flyball.demo_model_path())
    chat = model.chat_format()
    prompt = chat.ids(MESSAGES)
    ended = [each for each in run.streams if not each.error]
    each = [{"seed": found.seed} for found in ended]
    expected = model.generate_many([prompt] * len(ended), 300, each=each, ignore_eos=True, temperature=1.0, parallel=64)
    n_digests = n_texts = 0
    for found, result in zip(ended, expected, strict=True):
        parser = chat.parser(prompt)
        for token in result.tokens:
            parser.feed(token, "")
        parser.feed(None, result.text)
        parser.finish()
        n_digests += found.digest != result.digest
        n_texts += found.text != parser.answer.content
    lost = [each for each in run.streams if each.error]
    for each_lost in lost[:5]:
        print(f"lost: seed {each_lost.seed}: {each_lost.error}")
    print(f"{len(run.streams)} streams, {len(run.killed)} replicas killed")
    print(f"{len(lost)} lost, {n_texts} with another text, {n_digests} with another digest")
    return not lost and not n_texts and not n_digests


def pauses(metrics: str) -> str:
    """What the edge counted."""
    lines = [line for line in metrics.splitlines() if line.startswith("flyball_edge") and "_created" not in line]
    buckets = [line for line in lines if "pause_seconds_bucket" in line]
    total = float(buckets[-1].split()[-1])
    within = next(line.split('"')[1] for line in buckets if float(line.split()[-1]) >= 0.95 * total)
    continued = next(line.split()[-1] for line in lines if line.startswith("flyball_edge_continued_total"))
    return f"{float(continued):.0f} times another replica went on; 95 % of {total:.0f} pauses were at most {within} s"


@contextmanager
def nginx(replicas: list[Program]) -> Iterator[str]:
    """Before the replicas, as Debian has it."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        servers = " ".join(f"server 127.0.0.1:{each.port} max_fails=1 fail_timeout=1s;" for each in replicas)
        path = Path(folder) / "nginx.conf"
        path.write_text(_NGINX.format(folder=folder, servers=servers, port=port))
        process = subprocess.Popen([program, "-c", str(path), "-p", folder], stderr=subprocess.DEVNULL)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--streams", type=int, default=60)
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="between two kills")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--behind", choices=("nginx", "ray"), help="a balancer, which is all that the edge knows")
    args = parser.parse_args()
    with ExitStack() as ending:
        replicas, urls = begin(args.replicas, args.behind, ending)
        edge = ending.enter_context(Program("edge", *(word for url in urls for word in ("--replica", url))))
        run = asyncio.run(measure(edge.url, replicas, args))
        metrics = asyncio.run(ask(edge.url, "/metrics"))
    is_right = judge(run)
    print(pauses(metrics))
    longest = sorted(each.longest_pause for each in run.streams)
    p50, p95 = longest[len(longest) // 2], longest[int(0.95 * len(longest))]
    print(f"longest pause of a stream: p50 {p50:.2f} s, p95 {p95:.2f} s")
    sys.exit(0 if is_right else 1)


def begin(n: int, behind: str | None, ending: ExitStack) -> tuple[Sequence[Program | Actors], list[str]]:
    """Start replicas; what can be killed, and the addresses that the edge knows."""
    words = ("serve", "--threads", "1", "--set", "tune=off")
    if behind == "ray":
        return [Actors()], [ending.enter_context(Program(*words, "--ray", str(n))).url]
    replicas = [ending.enter_context(Program(*words)) for _ in range(n)]
    if behind == "nginx":
        return replicas, [ending.enter_context(nginx(replicas))]
    return replicas, [each.url for each in replicas]


async def ask(url: str, path: str) -> str:
    """The text at a path."""
    connection = await Connection.open(url)
    try:
        return (await connection.ask("GET", path)).decode()
    finally:
        connection.close()


if __name__ == "__main__":
    main()
