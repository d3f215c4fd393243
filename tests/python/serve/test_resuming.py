"""Streams that survive: a client that comes back gets the rest of the same answer, bit for bit."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

import flyball
from flyball.serve.answering import Answering, Ask
from flyball.serve.failures import Failure
from flyball.serve.models import Entry, Models, Served
from flyball.serve.partials import Partials
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings

from .conftest import Running, Start

BODY = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "stream": True, "ignore_eos": True, "max_tokens": 200, "stream_options": {"include_usage": True},
}  # fmt: skip


def events(lines: Any) -> Any:
    """(id, data) of each event."""
    identity = ""
    for line in lines:
        if line.startswith("id: "):
            identity = line.removeprefix("id: ")
        elif line.startswith("data: "):
            yield identity, line.removeprefix("data: ")


def take(server: Running, headers: dict[str, str], most: int | None = None, **members: Any) -> list[tuple[str, str]]:
    """The events of a stream, at most `most`: then the client goes."""
    taken = []
    with server.client() as client, client.stream(
        "POST", "/v1/chat/completions", json=BODY | members, headers=headers
    ) as response:  # fmt: skip
        assert response.status_code == 200, response.read()
        for each in events(response.iter_lines()):
            taken.append(each)
            if len(taken) == most:
                break
    return taken


def content(taken: list[tuple[str, str]]) -> str:
    """The text of events."""
    chunks = [json.loads(data) for _, data in taken if data != "[DONE]"]
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


def without_times(taken: list[tuple[str, str]]) -> list[Any]:
    """Events but for what differs between runs: times, and how many tokens were cached."""
    found = []
    for identity, data in taken:
        chunk = json.loads(data) if data != "[DONE]" else {}
        for member in ("timings", "created"):
            chunk.pop(member, None)
        chunk.get("usage", {}).pop("prompt_tokens_details", None)
        found.append((identity.split(".")[-1], chunk))
    return found


def digest(taken: list[tuple[str, str]]) -> str:
    """The digest in the last chunk."""
    return str(json.loads(taken[-2][1])["flyball"]["digest"])


@pytest.mark.parametrize("how", [{"idempotency-key": "k"}, {}])
@pytest.mark.parametrize("cut", [1, 2, 40])
def test_the_rest_of_the_same_stream(server: Running, how: dict[str, str], cut: int) -> None:
    key = {name: f"{value}-rest-{cut}" for name, value in how.items()}
    begun = take(server, key, cut)
    rest = take(server, key | {"last-event-id": begun[-1][0]})
    seed = int(begun[0][0].split(".")[2])
    whole = take(server, {}, seed=seed)
    joined = [json.loads(data) for _, data in (begun + rest)[:-1]]
    assert len({(chunk["id"], chunk["created"]) for chunk in joined}) == 1
    assert content(begun + rest) == content(whole)
    assert digest(rest) == digest(whole)
    assert [identity.split(".")[-1] for identity, _ in begun + rest][:-1] == [
        str(n) for n in range(1, len(begun + rest))
    ]


@pytest.mark.parametrize("cut", [1, 3, 30])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_streams_of_other_interfaces(server: Running, path: str, cut: int) -> None:
    body = {"stream": True, "ignore_eos": True, "max_tokens": 60, "messages": BODY["messages"]}
    if path == "/v1/responses":
        body = {"stream": True, "ignore_eos": True, "max_output_tokens": 60, "input": "Tell me a story."}

    def taken(headers: dict[str, str], most: int | None = None, **members: Any) -> list[tuple[str, Any]]:
        found = []
        with server.client() as client, client.stream("POST", path, json=body | members, headers=headers) as response:
            assert response.status_code == 200, response.read()
            for identity, data in events(response.iter_lines()):
                if (event := json.loads(data))["type"] != "ping":
                    found.append((identity, event))
                if len(found) == most:
                    break
        return found

    key = {"idempotency-key": f"{path}-{cut}"}
    begun = taken(key, cut)
    rest = taken(key | {"last-event-id": begun[-1][0]})
    whole = taken(key)
    assert [event["type"] for _, event in begun + rest] == [event["type"] for _, event in whole]
    assert [event.get("delta") for _, event in begun + rest] == [event.get("delta") for _, event in whole]
    assert [identity.rpartition(".")[2] for identity, _ in begun + rest] == [str(n + 1) for n in range(len(whole))]
    proofs = [(event.get("response") or event).get("flyball", {}).get("digest") for _, event in begun + rest]
    assert set(filter(None, proofs)) == {
        (event.get("response") or event)["flyball"]["digest"] for _, event in whole if event["type"] in _LAST
    }


_LAST = ("message_delta", "response.incomplete", "response.completed")


def test_a_key_gives_the_same_answer_again(server: Running) -> None:
    key = {"idempotency-key": "again"}
    first = take(server, key)
    assert without_times(take(server, key)) == without_times(first)
    with server.client() as client:
        other = client.post("/v1/chat/completions", json=BODY | {"max_tokens": 5}, headers=key)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_mismatch"


def test_keys_of_others_are_theirs(start: Start, server: Running) -> None:
    """Ids and seeds follow from client and key; another client's key of the same name is another."""
    locked = start(key="correct-horse-battery")
    key = {"idempotency-key": "mine"}
    assert digest(take(server, key)) != digest(take(locked, key))


def test_another_server_goes_on(start: Start, server: Running) -> None:
    """Nothing is shared between the two but the model's file."""
    key = {"idempotency-key": "replica"}
    begun = take(server, key, 30)
    rest = take(start(), key | {"last-event-id": begun[-1][0]})
    whole = take(server, key)
    assert content(begun + rest) == content(whole)
    assert digest(rest) == digest(whole)


@pytest.mark.parametrize("last", ["x", "0" * 24 + ".1.1", "0" * 24 + f".1.{2**64}.1", "0" * 24 + ".1.1.-1", "é"])
def test_foreign_ids_are_refused(server: Running, last: str) -> None:
    with server.client() as client:
        said = client.post("/v1/chat/completions", json=BODY, headers={b"last-event-id": last.encode()})
    assert said.status_code == 400
    assert said.json()["error"]["param"] == "Last-Event-ID"


def test_killed_in_the_middle_of_100_streams(start: Start, tmp_path_factory: pytest.TempPathFactory) -> None:
    """kill -9; every client comes back to the next server, and ends with an undisturbed run's text and digest."""
    home = tmp_path_factory.mktemp("killed")
    body = BODY | {"max_tokens": 350}  # many, so that none is complete when the slowest client has read its first ones
    first = start("--set", "serve.parallel=100", home=home)
    begun: dict[int, list[tuple[str, str]]] = {}
    ready = threading.Barrier(101)

    def begin(number: int) -> None:
        taken = begun[number] = []
        try:
            with first.client() as client, client.stream(
                "POST", "/v1/chat/completions", json=body, headers={"idempotency-key": f"kill-{number}"}
            ) as response:  # fmt: skip
                for each in events(response.iter_lines()):
                    taken.append(each)
                    if len(taken) == 2 + number % 5:
                        ready.wait(240)
        except httpx.TransportError:
            pass

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    ready.wait(240)
    first.process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join(240)
    assert (home / ".local" / "state" / "flyball" / "serve" / "unfinished.jsonl").stat().st_size > 0

    second = start("--set", "serve.parallel=100", home=home)
    rest: dict[int, list[tuple[str, str]]] = {}

    def go_on(number: int) -> None:
        last, data = begun[number][-1]
        if data == "[DONE]":  # it had got all
            rest[number] = []
            return
        rest[number] = take(second, {"idempotency-key": f"kill-{number}", "last-event-id": last}, max_tokens=350)

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)

    model = flyball.Model.load(flyball.demo_model_path())
    chat = model.chat_format()
    prompt = chat.ids(BODY["messages"])  # type: ignore[arg-type]
    seeds = [int(begun[number][0][0].split(".")[2]) for number in range(100)]
    expected = model.generate_many(
        [prompt] * 100, 350, each=[{"seed": seed} for seed in seeds], ignore_eos=True, parallel=64
    )
    assert sum(bool(each) for each in rest.values()) >= 20
    for number, result in enumerate(expected):
        assert digest(begun[number] + rest[number]) == result.digest
        parser = chat.parser(prompt)
        for token in result.tokens:
            parser.feed(token, "")
        parser.feed(None, result.text)
        parser.finish()
        assert content(begun[number] + rest[number]) == parser.answer.content


# --- tokens that were kept -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> flyball.Model:
    return flyball.Model.load(flyball.demo_model_path())


@pytest.mark.parametrize("place", [0, 7, 49])
def test_injected_tokens_are_found(model: flyball.Model, place: int) -> None:
    """What is kept is no evidence: a changed token is found, and the answer computed without it."""
    right = model.generate("Once", 50, seed=5, ignore_eos=True)
    kept = [token if n != place else token ^ 1 for n, token in enumerate(right.tokens)]

    async def run() -> None:
        served = Served("demo", model)
        entry = Entry("demo", flyball.demo_model_path(), lambda: model, served=served)
        server = Server(ServeSettings(), Models([entry]))
        ask = Ask(served, model.tokenize("Once"), 50, {"seed": 5, "ignore_eos": True}, "me", "test", resumable=True)
        for n, token in enumerate(kept, 1):
            server.partials.note(ask.id, n, token)
        async with Answering(server, ask) as answer:
            parts = [part async for part in answer]
        assert answer.result.digest == right.digest
        assert [part.piece.token for part in parts if part.piece] == list(right.tokens)
        assert server.observe.n_known_refused == 1

    asyncio.run(run())


def test_partials_outlive_their_process(tmp_path: Path) -> None:
    path = tmp_path / "serve" / "unfinished.jsonl"
    first = Partials(path)
    for n, token in enumerate([5, 6, 7], 1):
        first.note("a", n, token)
        first.note("b", n, token)
    first.forget("b")
    first.flush()
    second = Partials(path)  # another server while the first one runs: in memory only
    assert second.take("a") == []
    second.note("c", 1, 1)
    second.flush()
    first.close()
    third = Partials(path)
    assert (third.take("a"), third.take("b"), third.take("c")) == ([5, 6, 7], [], [])
    assert path.stat().st_mode & 0o777 == 0o600
    third.close()


@pytest.mark.parametrize(
    "line", [b'["a",5,1]', b'["a",4', b"\xff", b'["a",4,-1]', b'["a",4,"x"]', b"[]", b"7", b'["z",0,0]', b'[["a"],1,1]']
)
def test_damaged_partials_lose_only_what_is_damaged(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "unfinished.jsonl"
    path.write_bytes(b'["a",1,5]\n["a",2,6]\n["a",3,7]\n' + line)
    partials = Partials(path)
    assert partials.take("a") == [5, 6, 7]
    partials.close()


def test_equal_questions_fly_together(model: flyball.Model) -> None:
    async def run() -> None:
        served = Served("demo", model)
        entry = Entry("demo", flyball.demo_model_path(), lambda: model, served=served)
        server = Server(ServeSettings(parallel=1), Models([entry]))

        def ask(client: str = "me", **options: Any) -> Ask:
            return Ask(served, model.tokenize("Once"), 50, {"seed": 5, "ignore_eos": True} | options, client, "test")

        async def answer(one: Ask, leave: bool = False) -> str | None:
            async with Answering(server, one) as answering:
                async for _ in answering:
                    if leave:
                        return None
                return answering.result.digest

        first = asyncio.create_task(answer(ask(), leave=True))
        others = [asyncio.create_task(answer(ask())) for _ in range(5)]
        other_seed = asyncio.create_task(answer(ask(seed=6)))
        other_client = asyncio.create_task(answer(ask("you")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(server.flights.flying) == 3
        assert await first is None
        digests = {await task for task in others}
        assert digests == {model.generate("Once", 50, seed=5, ignore_eos=True).digest}
        assert await other_client in digests
        assert await other_seed not in digests
        assert server.flights.flying == []

    asyncio.run(run())


def test_a_failure_reaches_all_who_wait(model: flyball.Model) -> None:
    async def run() -> None:
        served = Served("demo", model)
        entry = Entry("demo", flyball.demo_model_path(), lambda: model, served=served)
        server = Server(ServeSettings(cache_bytes=1), Models([entry]))
        ask = Ask(served, model.tokenize("Once"), 50, {"seed": 5}, "me", "test")

        async def answer() -> None:
            async with Answering(server, ask):
                pass

        got = await asyncio.gather(answer(), answer(), return_exceptions=True)
        assert [type(error) for error in got] == [Failure, Failure]

    asyncio.run(run())
