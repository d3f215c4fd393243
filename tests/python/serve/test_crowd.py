"""Many who hold connections and do nothing with them: idle ones, and readers that do not read."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import WAIT, Running, Start
from .scraping import scrape, value

N_IDLE, N_READERS = 300, 50
FEW_FILES = 256  # fewer than the crowd has connections
GROWTH = 192 << 20  # bytes: what is kept for a reader is its answer, and a buffer or two
CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "seed": 1}
# Larger than what the system buffers for a connection whose reader does not read.
LONG = {**ASKED, "max_tokens": 250, "ignore_eos": True, "stream": True, "logprobs": True, "top_logprobs": 20}


@pytest.fixture(scope="module")
def crowded(start: Start) -> Running:
    """A server that was started with a low limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < N_IDLE + N_READERS + FEW_FILES:
        pytest.skip(f"the system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    try:
        return start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: Running) -> socket.socket:
    """A connection with the smallest buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(WAIT)
    sock.connect(("127.0.0.1", urlsplit(server.url).port))
    return sock


def send(sock: socket.socket, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
    sock.sendall(head.encode() + b"\r\n\r\n" + raw)


def status(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/v1/status").json()
    return found


def until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def n_ended(server: Running) -> int:
    """Answers whose readers have got all, or have gone."""
    found = status(server)["requests"]
    return int(found["finished"] + found["canceled"])


def n_begun(server: Running) -> float:
    return value(scrape(server), "vllm:request_queue_time_seconds_count")


def until_computed(server: Running, n: float) -> None:
    """Until so many answers have begun, and none runs."""
    until(lambda: n_begun(server) >= n, f"{n} answers have not begun")
    until(lambda: status(server)["requests"]["running"] == 0, "the answers are not complete")


def private_bytes(server: Running) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return sum(int(found[name].split()[0]) << 10 for name in ("RssAnon", "VmSwap"))


def n_files(server: Running) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_a_crowd_that_does_nothing_harms_nobody(crowded: Running) -> None:
    alone = crowded.post(CHAT, ASKED).json()
    begun, ended = n_begun(crowded), n_ended(crowded)
    before, files_before = private_bytes(crowded), n_files(crowded)
    with ExitStack() as crowd:
        for number in range(N_IDLE + N_READERS):
            sock = crowd.enter_context(connect(crowded))
            if number >= N_IDLE:
                send(sock, LONG)
        until_computed(crowded, begun + N_READERS)  # whether or not they are read
        beside = crowded.post(CHAT, ASKED).json()
        assert beside["flyball"]["digest"] == alone["flyball"]["digest"]
        assert beside["choices"] == alone["choices"]
        assert n_ended(crowded) == ended + 1  # no reader has got all of its answer
        assert n_files(crowded) >= N_IDLE + N_READERS
        assert private_bytes(crowded) - before < GROWTH
    until(lambda: n_ended(crowded) == ended + 1 + N_READERS, "answers are left whose readers have gone")
    until(lambda: n_files(crowded) <= files_before + 8, "connections are left")
    assert crowded.post(CHAT, ASKED).json()["flyball"]["digest"] == alone["flyball"]["digest"]


def test_a_reader_that_was_slow_gets_all_of_its_answer(crowded: Running) -> None:
    begun = n_begun(crowded)
    reader = connect(crowded)
    send(reader, LONG)
    until_computed(crowded, begun + 1)
    with reader, reader.makefile("rb") as stream:
        lines = []
        for line in stream:
            lines.append(line)
            if line == b"data: [DONE]\n":
                break
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    assert chunks[-1]["flyball"]["digest"] == crowded.post(CHAT, LONG | {"stream": False}).json()["flyball"]["digest"]


def test_too_few_files_are_told_at_the_start() -> None:
    command = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)); import flyball.cli as cli; "
    )
    ended = subprocess.run(
        [sys.executable, "-c", command + "sys.exit(cli.main(['serve', '--port', '0']))"],
        capture_output=True, text=True, timeout=WAIT,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "serve.waiting" in ended.stderr
    assert "ulimit -Hn" in ended.stderr
