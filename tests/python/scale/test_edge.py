"""An edge before real servers: clients get the answer of one undisturbed server, whatever happens to replicas."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from flyball.load import alerts
from flyball.scale.replicas import Replica
from tests.python.serve.conftest import WAIT, Running, Start

from .conftest import Breaking, MakeEdge, RunningEdge, until

CHAT = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "stream": True, "ignore_eos": True, "max_tokens": 40, "seed": 7,
}  # fmt: skip
TEXT = {"prompt": "Once upon a time", "stream": True, "ignore_eos": True, "max_tokens": 40, "seed": 7}
OLLAMA = {"model": "flyball-demo", "stream": True, "options": {"seed": 7, "num_predict": 40, "temperature": 1}}
STREAMS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": TEXT,
    "/v1/responses": {
        "input": "Tell me a story.",
        "stream": True,
        "ignore_eos": True,
        "max_output_tokens": 40,
        "seed": 7,
    },
    "/v1/messages": CHAT,
    "/completion": TEXT | {"n_predict": 40},
    "/api/chat": OLLAMA | {"messages": CHAT["messages"]},
    "/api/generate": OLLAMA | {"prompt": "Once upon a time"},
}
# What differs between two runs of one answer.
_TIMES = re.compile(
    r'"(created|created_at|id|response_id|item_id|receipt|timings|generation_settings|total_duration|load_duration|prompt_eval_duration|'
    r'eval_duration|prompt_eval_count|cached_tokens|tokens_cached|completed_at)": ?(\{[^{}]*\}|"[^"]*"|[0-9.]+)'
)


_PING = 'event: ping\ndata: {"type":"ping"}\n'  # of each connection


def stream(url: str, path: str, body: object, headers: dict[str, str] | None = None) -> str:
    """The text of a stream."""
    response = httpx.post(url + path, json=body, headers=headers, timeout=WAIT)
    assert response.status_code == 200, response.text
    return response.text


def plain(text: str) -> list[str]:
    """Its events without ids, comments and what differs between runs."""
    kept = (line for line in text.replace(_PING, "").splitlines() if line and not line.startswith(("id:", ":")))
    return [_TIMES.sub("", line) for line in kept]


@pytest.mark.parametrize("path", STREAMS)
def test_streams_are_those_of_a_server(server: Running, make_edge: MakeEdge, path: str) -> None:
    edge = make_edge(server.url)
    expected = plain(stream(server.url, path, STREAMS[path]))
    assert len(expected) > 20
    assert plain(stream(edge.url, path, STREAMS[path])) == expected


@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_that_breaks_goes_on(server: Running, breaking: Breaking, make_edge: MakeEdge, path: str) -> None:
    """Three times in one answer: before the first event, in the middle of one, and late."""
    edge = make_edge(breaking.url)
    whole = stream(server.url, path, STREAMS[path])
    breaking.cuts += [1, len(whole) // 3, len(whole) // 2, None]
    assert plain(stream(edge.url, path, STREAMS[path])) == plain(whole)
    assert len(breaking.requests) == 4
    has_ids = "id: " in whole
    assert (b"last-event-id" in breaking.requests[3].lower()) == has_ids
    assert (b'"flyball_known":[' in breaking.requests[3]) == has_ids
    assert edge.metric("flyball_edge_continued_total") >= 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_wherever_it_breaks(server: Running, breaking: Breaking, make_edge: MakeEdge, share: float) -> None:
    """The digest is the undisturbed one, and no event comes twice or never."""
    edge = make_edge(breaking.url)
    whole = stream(server.url, "/v1/chat/completions", CHAT)
    breaking.cuts += [int(share * len(whole)) + n for n in range(0, 40, 7)]
    text = stream(edge.url, "/v1/chat/completions", CHAT)
    assert plain(text) == plain(whole)
    numbers = [int(each) for each in re.findall(r"^id: \w+\.\d+\.\d+\.(\d+)$", text, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/embeddings"])
def test_whole_answers_are_repeated(server: Running, breaking: Breaking, make_edge: MakeEdge, path: str) -> None:
    edge = make_edge(breaking.url)
    body: dict[str, object] = {**STREAMS.get(path, {"input": "Once"}), "stream": False}
    breaking.cuts += [0, 300, None]
    response = httpx.post(edge.url + path, json=body, timeout=WAIT)
    assert response.status_code == 200
    assert plain(response.text) == plain(httpx.post(server.url + path, json=body, timeout=WAIT).text)
    assert len(breaking.requests) == 3


def _response(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-length: 4\r\nconnection: close\r\n{headers}\r\noops".encode()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_a_balancer_says_is_not_the_answer(breaking: Breaking, make_edge: MakeEdge, status: int) -> None:
    """Where a replica died behind it; in the middle of a stream, too."""
    edge = make_edge(breaking.url)
    breaking.instead += [_response(status)] * 2
    if status not in (429, 503):  # with which a single server tells its clients to come again
        assert '"finish_reason":"length"' in stream(edge.url, "/v1/chat/completions", CHAT)
    breaking.instead.clear()
    before = len(breaking.requests)
    breaking.cuts += [4000]
    with httpx.stream("POST", f"{edge.url}/v1/chat/completions", json=CHAT, timeout=WAIT) as response:
        lines = response.iter_lines()
        next(lines)
        breaking.instead += [_response(status)] * 2
        assert any('"finish_reason":"length"' in line for line in lines)
    assert len(breaking.requests) > before + 1


def test_a_servers_own_fault_is_told(breaking: Breaking, make_edge: MakeEdge) -> None:
    edge = make_edge(breaking.url)
    breaking.instead += [_response(500, "x-should-retry: false\r\n")]
    response = httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT, timeout=WAIT)
    assert (response.status_code, response.text, len(breaking.requests)) == (500, "oops", 1)


def test_a_request_that_kills_replicas_ends(breaking: Breaking, make_edge: MakeEdge) -> None:
    """Not all of them, one after the other; in a stream, too."""
    edge = make_edge(breaking.url)
    for stream_it in (False, True):
        breaking.requests.clear()
        breaking.cuts += [0] * 20
        response = httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT | {"stream": stream_it}, timeout=WAIT)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "replica_lost")
        assert len(breaking.requests) == 6
        breaking.cuts.clear()
    breaking.cuts += [3000] + [1200] * 20  # the head and a little
    with httpx.stream("POST", f"{edge.url}/v1/chat/completions", json=CHAT, timeout=WAIT) as response:
        assert '"code":"replica_lost"' in list(response.iter_lines())[-2]


def test_a_seed_that_is_left_open_is_the_same_everywhere(breaking: Breaking, make_edge: MakeEdge) -> None:
    edge = make_edge(breaking.url)
    body = {name: value for name, value in CHAT.items() if name != "seed"}
    breaking.cuts += [3000, 6000]
    text = stream(edge.url, "/v1/chat/completions", body)
    assert len(set(re.findall(r"^id: (\w+\.\d+\.\d+)\.\d+$", text, re.M))) == 1
    assert '"finish_reason":"length"' in text


def test_the_clients_own_key_and_last_event(server: Running, make_edge: MakeEdge) -> None:
    """Whoever comes back to the edge gets the rest, as from a server."""
    edge = make_edge(server.url)
    key = {"idempotency-key": "mine"}
    whole = stream(edge.url, "/v1/chat/completions", CHAT, key)
    last = re.findall(r"^id: (.*)$", whole, re.M)[10]
    rest = stream(edge.url, "/v1/chat/completions", CHAT, key | {"last-event-id": last})
    assert plain(whole)[11:] == plain(rest)


def test_others_may_not_be_repeated(server: Running, breaking: Breaking, make_edge: MakeEdge) -> None:
    """Feedback that was sent may have been taken: the client is told, and nothing is sent twice."""
    edge = make_edge(breaking.url)
    breaking.cuts += [0]
    response = httpx.post(f"{edge.url}/v1/feedback", json={"receipt": "0" * 24, "rating": "good"}, timeout=WAIT)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "replica_lost"
    assert len(breaking.requests) == 1


def test_plugins_are_not_asked_twice(server: Running, breaking: Breaking, make_edge: MakeEdge) -> None:
    """They may do something in the world."""
    edge = make_edge(breaking.url)
    breaking.cuts += [0]
    body = CHAT | {"plugins": ["weather"]}
    assert httpx.post(f"{edge.url}/v1/chat/completions", json=body, timeout=WAIT).status_code == 502
    assert len(breaking.requests) == 1


def test_what_a_server_refuses_is_refused(server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(server.url)
    bodies: list[dict[str, Any]] = [{}, {"messages": []}, CHAT | {"model": "no"}, CHAT | {"temperature": 1e9}]
    for body in bodies:
        told = httpx.post(f"{edge.url}/v1/chat/completions", json=body)
        direct = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert (told.status_code, told.json()) == (direct.status_code, direct.json())
    assert httpx.get(f"{edge.url}/v1/models").json() == httpx.get(f"{server.url}/v1/models").json()
    assert httpx.get(f"{edge.url}/nothing/%2F?a=b").status_code == 404


def test_receipts_are_found_wherever_they_are(start: Start, server: Running, make_edge: MakeEdge) -> None:
    other = start()
    edge = make_edge(server.url, other.url)
    for url in (server.url, other.url):
        said = httpx.post(f"{url}/v1/chat/completions", json=CHAT | {"stream": False}, timeout=WAIT).json()
        receipt = said["flyball"]["receipt"]
        assert httpx.get(f"{edge.url}/v1/receipts/{receipt}").json()["receipt"]["digest"] == said["flyball"]["digest"]
        assert httpx.post(f"{edge.url}/v1/verify", json={"id": receipt}, timeout=WAIT).json()["verified"]
    assert httpx.get(f"{edge.url}/v1/receipts/{'0' * 24}").status_code == 404


def test_foreign_pages_and_hosts(server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(server.url)
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        assert httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT, headers=headers).status_code == 403
    assert httpx.post(f"{edge.url}/v1/chat/completions", content="x", headers={"content-type": "text/plain"}).is_error
    same = {"origin": edge.url, "sec-fetch-site": "same-origin"}
    assert httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT, headers=same, timeout=WAIT).status_code == 200


def test_keys_are_checked_by_replicas(start: Start, make_edge: MakeEdge) -> None:
    locked = start(key="correct-horse-battery")
    edge = make_edge(locked.url, key="correct-horse-battery")
    assert edge.states() == {locked.url: "ready"}
    assert httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT).status_code == 401
    known = httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT, headers=locked.headers, timeout=WAIT)
    assert known.status_code == 200
    stranger = make_edge(locked.url, wait=False)
    until(lambda: stranger.states() == {locked.url: "lost"})


def test_an_edge_for_others_wants_keys(server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(server.url, host="0.0.0.0")
    assert edge.states() == {server.url: "differs"}


def test_no_replica(make_edge: MakeEdge) -> None:
    edge = make_edge("http://127.0.0.1:9", patience=0.5)
    assert httpx.get(f"{edge.url}/ready").status_code == 503
    assert httpx.get(f"{edge.url}/health").status_code == 200
    response = httpx.post(f"{edge.url}/v1/chat/completions", json=CHAT)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert edge.metric('flyball_edge_requests_total{ended="refused"}') == 1


def test_a_client_that_goes_ends_its_answer(server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(server.url)
    with httpx.stream("POST", f"{edge.url}/v1/chat/completions", json=CHAT | {"max_tokens": 400}) as response:
        next(response.iter_lines())
    until(lambda: httpx.get(f"{server.url}/v1/replica").json()["running"] == 0)
    assert not edge.edge.replicas.all[0].doing


# --- replicas that end, hang, differ or err ---------------------------------------------------------------------------


class Streams:
    """Streams through an edge, each with its seed."""

    def __init__(self, edge: RunningEdge, n: int, max_tokens: int = 300) -> None:
        self.texts: dict[int, str] = {}
        self._n_begun = 0
        body = CHAT | {"max_tokens": max_tokens}
        self.threads = [threading.Thread(target=self._run, args=(edge, body | {"seed": seed})) for seed in range(n)]
        for thread in self.threads:
            thread.start()
        until(lambda: self._n_begun == n)

    def _run(self, edge: RunningEdge, body: dict[str, Any]) -> None:
        with httpx.stream("POST", f"{edge.url}/v1/chat/completions", json=body, timeout=WAIT) as response:
            lines = response.iter_lines()
            first = [next(lines) for _ in range(3)]
            self._n_begun += 1
            self.texts[body["seed"]] = "\n".join([*first, *lines])

    def join(self) -> dict[int, str]:
        for thread in self.threads:
            thread.join(WAIT)
        return self.texts


def digests(texts: dict[int, str]) -> dict[int, str]:
    """The digest that each stream ends with."""
    return {seed: re.findall(r'"digest":"(\w+)"', text)[-1] for seed, text in texts.items()}


def undisturbed(server: Running, n: int, max_tokens: int = 300) -> dict[int, str]:
    body = CHAT | {"max_tokens": max_tokens}
    return digests({seed: stream(server.url, "/v1/chat/completions", body | {"seed": seed}) for seed in range(n)})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_replica_goes_in_the_middle(start: Start, server: Running, make_edge: MakeEdge, how: signal.Signals) -> None:
    """Killed; ended with no time to finish; or it does nothing any more."""
    other = start("--set", "serve.drain_seconds=0")
    edge = make_edge(server.url, other.url)
    streams = Streams(edge, 8)
    assert any(replica.doing for replica in edge.edge.replicas.all if replica.url == other.url)
    other.process.send_signal(how)
    try:
        assert digests(streams.join()) == undisturbed(server, 8)
        assert edge.metric("flyball_edge_continued_total") >= 1
        until(lambda: edge.states()[other.url] == "lost")
    finally:
        other.process.kill()


def test_a_replica_comes_back(start: Start, server: Running, make_edge: MakeEdge) -> None:
    other = start()
    edge = make_edge(server.url, other.url)
    other.process.send_signal(signal.SIGSTOP)
    until(lambda: edge.states()[other.url] == "lost")
    other.process.send_signal(signal.SIGCONT)
    until(lambda: edge.states()[other.url] == "ready")


def test_one_that_takes_its_time_keeps_nobody(start: Start, server: Running, make_edge: MakeEdge) -> None:
    """While one does not answer the question that it must answer first, others are looked at."""
    other = start()
    edge = make_edge(server.url, other.url)

    async def hanging(replica: Replica) -> str:
        await asyncio.sleep(WAIT)
        return ""

    edge.edge.replicas.admit = hanging
    edge.loop.call_soon_threadsafe(edge.edge.replicas.add, start().url)
    until(lambda: len(edge.states()) == 3)
    other.process.kill()
    until(lambda: edge.states()[other.url] == "lost")
    assert sorted(edge.states().values()) == ["lost", "ready", "unknown"]


@pytest.mark.parametrize("words", [["--set", "context=256"], ["--set", "sampling.temperature=0.3"]])
def test_a_replica_that_would_answer_otherwise(
    start: Start, server: Running, make_edge: MakeEdge, words: list[str]
) -> None:
    other = start(*words)
    edge = make_edge(server.url, wait=False)
    until(lambda: edge.states() == {server.url: "ready"})
    edge.loop.call_soon_threadsafe(edge.edge.replicas.add, other.url)
    until(lambda: edge.states().get(other.url) == "differs")
    for seed in range(4):
        stream(edge.url, "/v1/chat/completions", CHAT | {"seed": seed, "max_tokens": 4})
    assert httpx.get(f"{other.url}/v1/status").json()["requests"]["finished"] == 0


def test_conversations_stay_where_their_prompts_are(start: Start, server: Running, make_edge: MakeEdge) -> None:
    other = start()
    edge = make_edge(server.url, other.url)

    def finished() -> list[int]:
        return [httpx.get(f"{url}/v1/status").json()["requests"]["finished"] for url in (server.url, other.url)]

    placed = []
    for conversation in range(8):
        before = finished()
        messages: list[dict[str, str]] = []
        for turn in range(2):
            messages += [{"role": "user", "content": f"Story {conversation}, part {turn}."}]
            body = CHAT | {"messages": messages, "max_tokens": 4, "stream": False}
            said = httpx.post(f"{edge.url}/v1/chat/completions", json=body, timeout=WAIT).json()
            messages += [{"role": "assistant", "content": said["choices"][0]["message"]["content"] or "so"}]
        placed.append([after - n for after, n in zip(finished(), before, strict=True)])
    assert all(sorted(each) == [0, 2] for each in placed)
    assert len({each[0] for each in placed}) == 2  # and both have some


def test_an_edge_as_a_program(server: Running, tmp_path: Path) -> None:
    """Its words, its journal, and its end."""
    from .programs import running_edge

    with running_edge(tmp_path, "--replica", server.url, "--port", "0") as (url, process):
        until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        assert plain(stream(url, "/v1/completions", TEXT)) == plain(stream(server.url, "/v1/completions", TEXT))
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    (journal,) = (tmp_path / ".local" / "state" / "flyball" / "edge").glob("journal-*.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert "REPLICA_JOINED" in [event["reason_id"] for event in events]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--replica: is missing"),
        (["--replica", "ftp://x"], "is no address"),
        (["--replicas-dns", "no port"], "must be HOST:PORT"),
        (["--replica", "http://127.0.0.1:1", "--port", "99999"], "edge.port"),
    ],
)
def test_wrong_use(words: list[str], said: str, tmp_path: Path) -> None:
    from .programs import failing_edge

    code, error = failing_edge(tmp_path, *words)
    assert (code, len(error.splitlines())) == (2, 1)
    assert said in error


def test_names_whose_addresses_are_replicas(server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(dns=f"localhost:{server.url.rpartition(':')[2]}", wait=False)
    until(lambda: edge.states().get(server.url) == "ready")
    assert stream(edge.url, "/v1/completions", TEXT)


# --- what differs is found -------------------------------------------------------------------------------------------


def test_samples_are_computed_by_another(start: Start, server: Running, make_edge: MakeEdge) -> None:
    edge = make_edge(server.url, start().url, verify=1.0)
    for seed in range(3):
        stream(edge.url, "/v1/chat/completions", CHAT | {"seed": seed})
    until(lambda: edge.metric('flyball_edge_verifications_total{result="verified"}') == 3)
    assert edge.metric("flyball_edge_verification_mismatches_total") == 0


def ask_for_story(edge: RunningEdge, number: int) -> None:
    """One of many questions, which go to any replica."""
    stream(edge.url, "/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": f"Story {number}"}]})


@pytest.mark.parametrize("how", ["canary", "sample"])
def test_a_kernel_that_errs_is_found(
    server: Running, start: Start, make_edge: MakeEdge, tmp_path: Path, how: str
) -> None:
    """One bit of a constant of its kernels changes while it runs: it is out, and what it computes goes to nobody."""
    from .programs import faulty_replica

    settings: dict[str, Any] = {"canary": 0.5} if how == "canary" else {"canary": 600.0, "verify": 1.0}
    with faulty_replica(tmp_path) as (url, flip):
        edge = make_edge(server.url, start().url, url, **settings)
        assert set(edge.states().values()) == {"ready"}
        flip()
        since = time.monotonic()
        stories = iter(range(1000))

        def found() -> bool:
            if how == "sample":
                ask_for_story(edge, next(stories))
            return edge.states()[url] == "out"

        until(found)
        print(f"found after {time.monotonic() - since:.1f} s by {how}")
        assert sorted(edge.states().values()) == ["out", "ready", "ready"]
        (alert,) = alerts.read(edge.alerts).entries
        assert (alert["component"], alert["severity"], alert["replica"]) == ("edge", "critical", url)
        assert (alert["reason_id"], alert["machine"]) == ("REPLICA_MISMATCH", socket.gethostname())
        if how == "sample":
            assert "position" in alert["observed"]
        time.sleep(0.5)
        assert edge.states()[url] == "out"  # it says that it is well, and is not believed
        sound = start()  # what the broken one has said is not held against it
        edge.loop.call_soon_threadsafe(edge.edge.replicas.add, sound.url)
        until(lambda: edge.states().get(sound.url) in ("ready", "out"))
        assert edge.states()[sound.url] == "ready"


def test_two_replicas_that_differ(server: Running, make_edge: MakeEdge, tmp_path: Path) -> None:
    """Nobody can say which one errs: the alert names both."""
    from .programs import faulty_replica

    with faulty_replica(tmp_path) as (url, flip):
        edge = make_edge(server.url, url, canary=600.0, verify=1.0)
        flip()
        stories = iter(range(1000))

        def alerted() -> bool:
            ask_for_story(edge, next(stories))
            return edge.alerts.exists()

        until(alerted)
        first = alerts.read(edge.alerts).entries[0]
        assert first["reason_id"] == "REPLICA_MISMATCH"
        named = first["replica"] if isinstance(first["replica"], list) else [first["replica"]]
        assert url in named
