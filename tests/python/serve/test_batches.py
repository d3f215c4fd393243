"""OpenAI's files and batches: with its own client in strict mode, over kills, beside other servers and projects."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest
from openai.types import Batch

import flyball
from flyball.serve.app import create_app
from flyball.serve.batch_lines import LineError, derived_seed, items_of
from flyball.serve.batch_worker import BatchWorker
from flyball.serve.models import Entry, Models, Served
from flyball.serve.records import Records
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings
from flyball.store import NewItem, Store
from flyball.store.batches import MOST_ITEM_BYTES

from .conftest import WAIT, Running, Start
from .programs import free_port

CHAT: Final = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")


def client_of(server: Running) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, _strict_response_validation=True, timeout=WAIT
    )


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return client_of(server)


def line(custom_id: str, url: str = CHAT, **body: Any) -> dict[str, Any]:
    if url == CHAT:
        body = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 12} | body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)


def begin(client: openai.OpenAI, lines: Iterable[Any], url: Any = CHAT) -> Batch:
    file = client.files.create(file=("input.jsonl", jsonl(lines)), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h", metadata={"of": "test"})


def until(client: openai.OpenAI, identity: str, reached: Callable[[Batch], bool]) -> Batch:
    end = time.monotonic() + WAIT
    while not reached(batch := client.batches.retrieve(identity)):
        assert time.monotonic() < end, batch
        time.sleep(0.05)
    return batch


def has_completed(batch: Batch, n: int = 1) -> bool:
    return batch.request_counts is not None and batch.request_counts.completed >= n


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    return until(client, batch.id, lambda now: now.status in ENDED)


def results(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(each) for each in client.files.content(file_id).text.splitlines()]


def test_answers_are_those_of_requests(server: Running, client: openai.OpenAI) -> None:
    body = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 12}
    wrong = line("wrong", temperature="hot")
    batch = begin(client, [line("own seed", seed=7), b"", wrong, line("no seed"), line("twin", seed=7)])
    assert (batch.status, batch.object, batch.completion_window) == ("validating", "batch", "24h")
    done = ended(client, batch)
    assert done.status == "completed"
    assert done.metadata == {"of": "test"}
    counts = done.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (4, 3, 1)
    lines = results(client, done.output_file_id)
    assert [each["custom_id"] for each in lines] == ["own seed", "no seed", "twin"]
    assert len({each["id"] for each in lines}) == 3
    for each, seed in zip(lines, (7, derived_seed(batch.id, "no seed"), 7), strict=True):
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        said = each["response"]["body"]
        asked = server.post(CHAT, body | {"seed": seed}).json()
        assert said["choices"] == asked["choices"]
        assert said["flyball"]["digest"] == asked["flyball"]["digest"]
        assert said["flyball"]["seed"] == seed
        receipt = server.get(f"/v1/receipts/{said['flyball']['receipt']}").json()
        assert receipt["receipt"]["digest"] == said["flyball"]["digest"]
        assert each["response"]["request_id"] == f"req_{said['flyball']['receipt']}"
    (failed,) = results(client, done.error_file_id)
    assert failed["custom_id"] == "wrong"
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["param"] == "temperature"


@pytest.mark.parametrize(
    ("url", "body", "member"),
    [
        ("/v1/completions", {"prompt": "One, two", "max_tokens": 4}, "choices"),
        ("/v1/embeddings", {"input": "One"}, "data"),
        ("/v1/responses", {"input": "What is 2 + 3?", "max_output_tokens": 6}, "output"),
    ],
)
def test_endpoints(client: openai.OpenAI, url: Any, body: dict[str, Any], member: str) -> None:
    done = ended(client, begin(client, [line("a", url, **body), line("b", url, **body)], url))
    assert (done.status, done.error_file_id) == ("completed", None)
    lines = results(client, done.output_file_id)
    assert [each["custom_id"] for each in lines] == ["a", "b"]
    assert all(each["response"]["body"][member] for each in lines)
    assert url == "/v1/embeddings" or all(each["response"]["body"]["flyball"]["digest"] for each in lines)


def test_files(server: Running, client: openai.OpenAI) -> None:
    content = jsonl([{"text": "\u00e9"}]) * 1000
    made = client.files.create(
        file=("my file.jsonl", content), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (made.filename, made.bytes, made.purpose, made.object) == ("my file.jsonl", len(content), "batch", "file")
    assert made.expires_at is not None
    assert 3500 < made.expires_at - made.created_at < 3700
    other = client.files.create(file=b"", purpose="batch")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == content
    assert client.files.content(other.id).read() == b""
    listed = client.files.list(limit=1)
    assert [each.id for each in listed.data] == [other.id]
    assert {made.id, other.id} <= {each.id for each in listed}  # the client asks for the pages that follow
    assert client.files.list(purpose="nothing").data == []
    assert client.files.delete(made.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    with pytest.raises(openai.NotFoundError):
        client.batches.create(input_file_id=made.id, endpoint=CHAT, completion_window="24h")
    for query in ("limit=0", "limit=x", "after=file-none"):
        assert server.get(f"/v1/files?{query}").status_code == 400


def test_bad_uploads(server: Running) -> None:
    with server.client() as client:
        file = {"file": ("a.jsonl", b"{}")}
        assert "purpose" in client.post("/v1/files", files=file).json()["error"]["message"]
        assert client.post("/v1/files", files=file, data={"purpose": "vision"}).status_code == 400
        assert client.post("/v1/files", files={"purpose": (None, "batch")}).status_code == 400
        assert client.post("/v1/files", json={"purpose": "batch"}).status_code == 415
        head = {"content-type": "multipart/form-data; boundary=x"}
        for raw in (b"--x\r\nbroken", b"--x--", b""):
            assert client.post("/v1/files", content=raw, headers=head).status_code == 400
        assert (
            client.post("/v1/files", content=b"--x", headers={"content-type": "multipart/form-data"}).status_code == 400
        )
        soon = {"purpose": "batch", "expires_after[seconds]": "1"}
        assert client.post("/v1/files", files=file, data=soon).status_code == 400


def test_bodies_are_bounded(start: Start) -> None:
    server = start("--set", "serve.body_kb=64")
    with server.client() as client:
        much = client.post("/v1/files", files={"file": ("a", b"x" * (1 << 17))}, data={"purpose": "batch"})
        assert much.status_code == 413


def test_bad_batches(server: Running, client: openai.OpenAI) -> None:
    file = client.files.create(file=jsonl([line("a")]), purpose="batch").id
    good = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, name in (
        ({"endpoint": "/v1/rerank"}, "endpoint"), ({"endpoint": None}, "endpoint"),
        ({"input_file_id": 3}, "input_file_id"),
        ({"input_file_id": None}, "input_file_id"), ({"completion_window": "soon"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"), ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ):  # fmt: skip
        refused = server.post("/v1/batches", good | wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, name), refused.text
    assert server.get("/v1/batches/batch_none").status_code == 404
    assert server.post("/v1/batches/batch_none/cancel", {}).status_code == 404
    ids = [begin(client, [line(str(n))]).id for n in range(3)]
    listed = client.batches.list(limit=2)
    assert [each.id for each in listed.data] == ids[:0:-1]
    assert ids[0] in [each.id for each in listed]
    done = ended(client, client.batches.retrieve(ids[0]))
    assert server.post(f"/v1/batches/{done.id}/cancel", {}).status_code == 400


def test_broken_lines_fail_the_batch(client: openai.OpenAI) -> None:
    lines = [line("a"), b"{", line("a"), b'{"method": "POST"}', line("c") | {"url": "/v1/completions"}]
    failed = ended(client, begin(client, lines))
    assert (failed.status, failed.output_file_id, failed.error_file_id) == ("failed", None, None)
    assert failed.errors is not None
    assert [(error.line, error.code) for error in failed.errors.data or []] == [
        (2, "invalid_json_line"), (3, "duplicate_custom_id"), (4, "missing_required_parameter"), (5, "invalid_url"),
    ]  # fmt: skip
    assert failed.request_counts is not None
    assert failed.request_counts.total == 0
    empty = ended(client, begin(client, []))
    assert empty.errors is not None
    assert [error.code for error in empty.errors.data or []] == ["empty_file"]


def errors_of(content: Iterable[bytes]) -> list[LineError]:
    errors: list[LineError] = []
    for _ in items_of(content, CHAT, errors):
        pass
    return errors


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"[]", "invalid_json_line"), (b"\xff", "invalid_json_line"), (b'{"a": NaN}', "invalid_json_line"),
        (b"[" * 100_000, "invalid_json_line"), (json.dumps(line("")).encode(), "invalid_value"),
        (json.dumps(line("a") | {"custom_id": 1}).encode(), "invalid_value"),
        (json.dumps(line("a\0")).encode(), "invalid_value"), (json.dumps(line("\ud800")).encode(), "invalid_value"),
        (json.dumps(line("a") | {"method": "GET"}).encode(), "invalid_method"),
        (json.dumps(line("a") | {"body": []}).encode(), "missing_required_parameter"),
        (json.dumps(line("a", stream=True)).encode(), "invalid_value"),
        (json.dumps(line("a", seed=0)).encode().replace(b'"seed": 0', b'"seed": 1e999'), "invalid_json_line"),
        (b"x" * (MOST_ITEM_BYTES + 1), "line_too_long"),
    ],
)  # fmt: skip
def test_each_line_is_checked(wrong: bytes, code: str) -> None:
    whole = jsonl([line("first"), wrong, line("last")])
    for size in (7_000_000, 1 << 20):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert [(error.line, error.code) for error in errors_of(pieces)] == [(2, code)]


def test_lines_end_as_files_end_them() -> None:
    errors: list[LineError] = []
    content = jsonl([line("a"), b"  ", line("b")]).replace(b"\n", b"\r\n") + json.dumps(line("c")).encode()
    items = list(items_of([bytes([byte]) for byte in content], CHAT, errors))
    assert [(item.line, item.custom_id) for item in items] == [(1, "a"), (3, "b"), (4, "c")]
    assert errors == []
    assert len(errors_of([b"{\n" * 5000])) == 100


def test_a_batch_survives_kills(start: Start, tmp_path: Path) -> None:
    """Each request is in the results once, with the digest that it has without a kill."""
    names = [f"r{n}" for n in range(30)]
    body: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True}
    how = ("--port", str(free_port()), "--set", "serve.parallel=8")
    server = start(*how, home=tmp_path)
    batch = begin(client_of(server), [line(name, **body) for name in names])
    for part in (5, 12):
        until(client_of(server), batch.id, partial(has_completed, n=part))
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(WAIT)
        server = start(*how, home=tmp_path)
    done = ended(client_of(server), batch)
    assert (done.status, done.error_file_id) == ("completed", None)
    lines = results(client_of(server), done.output_file_id)
    assert [each["custom_id"] for each in lines] == names
    with flyball.Model.load(flyball.demo_model_path()) as model:
        for each in lines[::5]:
            seed = derived_seed(batch.id, each["custom_id"])
            expected = model.chat().send("What is 2 + 3?", 60, seed=seed, ignore_eos=True)
            assert each["response"]["body"]["flyball"]["digest"] == expected.digest
    outputs = [file for file in client_of(server).files.list() if file.purpose == "batch_output"]
    assert [file.id for file in outputs] == [done.output_file_id]


def test_a_server_that_ends_gives_back(start: Start, tmp_path: Path) -> None:
    how = ("--port", str(free_port()), "--set", "serve.parallel=4", "--set", "serve.drain_seconds=0")
    server = start(*how, home=tmp_path)
    batch = begin(client_of(server), [line(str(n), max_tokens=400, ignore_eos=True) for n in range(6)])
    until(client_of(server), batch.id, has_completed)
    assert server.stop() == 0
    (database,) = tmp_path.rglob("store.sqlite")
    with Store.open(database) as store:
        items = list(store.project().items.of(batch.id))
    assert {item.state for item in items} <= {"pending", "completed"}
    assert {item.tries for item in items if item.state == "pending"} <= {0}
    again = start(*how, home=tmp_path)
    assert ended(client_of(again), batch).status == "completed"


def test_cancel(start: Start) -> None:
    server = start("--set", "serve.parallel=1")
    client = client_of(server)
    batch = begin(client, [line(str(n), max_tokens=60, ignore_eos=True) for n in range(40)])
    until(client, batch.id, has_completed)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    done = ended(client, batch)
    assert done.status == "cancelled"
    finished, left = results(client, done.output_file_id), results(client, done.error_file_id)
    assert finished
    assert sorted(int(each["custom_id"]) for each in finished + left) == list(range(40))
    assert {each["error"]["code"] for each in left} == {"batch_cancelled"}
    assert client.batches.cancel(batch.id).status == "cancelled"


def test_without_a_store(start: Start) -> None:
    server = start("--set", "serve.store=none")
    file = {"file": ("a.jsonl", b"{}")}
    with server.client() as client:
        answers = [client.post("/v1/files", files=file, data={"purpose": "batch"})]
    answers += [server.get(path) for path in ("/v1/files", "/v1/files/a", "/v1/files/a/content", "/v1/batches")]
    answers += [server.post("/v1/batches", {"input_file_id": "a", "endpoint": CHAT})]
    for answer in answers:
        assert answer.status_code == 501
        assert "without a store" in answer.json()["error"]["message"]


# Below in this process: with more than one project, with failures and clocks that a test chooses.


def in_process(model: flyball.Model, store: Store, settings: ServeSettings | None = None, **how: Any) -> Server:
    entry = Entry("demo", Path(model.info.path), lambda: model, served=Served("demo", model))
    server = Server(settings or ServeSettings(parallel=8), Models([entry]), Records(store))
    server.batches = BatchWorker(server, poll_seconds=0.05, **how)
    return server


@pytest.fixture(scope="module")
def model() -> Any:
    with flyball.Model.load(flyball.demo_model_path()) as model:
        yield model


def put(store: Store, lines: Iterable[dict[str, Any]], url: str = CHAT, hours: int = 24) -> str:
    project = store.project()
    file = project.files.put("in", "batch", [jsonl(lines)])
    return project.batches.create(url, file.id, time.time_ns() // 10**6 + hours * 3_600_000).id


async def worked(servers: list[Server], store: Store, identity: str) -> None:
    """Run the servers' workers until the batch has ended."""
    tasks = [asyncio.ensure_future(server.batches.run(create_app(server))) for server in servers]
    end = time.monotonic() + WAIT
    while (batch := store.project().batches.get(identity)) is not None and batch.state not in ENDED:
        assert time.monotonic() < end, batch
        assert not any(task.done() for task in tasks)
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for server in servers:
        server.records.close()
        assert server.records.n_errors == 0, server.records.last_error


def custom_ids(store: Store, file_id: str | None) -> list[str]:
    content = b"".join(store.project().files.content(file_id)) if file_id else b""
    return [json.loads(each)["custom_id"] for each in content.splitlines()]


def test_projects_are_apart(model: flyball.Model, tmp_path: Path) -> None:
    async def calls() -> None:
        with Store.open(tmp_path / "s", instance="one") as store:
            other = store.create_project("other")
            file = store.project().files.put("in", "batch", [b"{}"]).id
            batch = store.project().batches.create(CHAT, file, 1).id
            theirs = other.files.put("in", "batch", [b"{}"]).id
            key = other.keys.create("theirs").secret
            app = create_app(in_process(model, store, settings=ServeSettings(has_stored_keys=True)))
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers
            ) as client:
                body = {"input_file_id": file, "endpoint": CHAT}
                for answer in (
                    await client.get(f"/v1/files/{file}"), await client.get(f"/v1/files/{file}/content"),
                    await client.delete(f"/v1/files/{file}"), await client.get(f"/v1/batches/{batch}"),
                    await client.post(f"/v1/batches/{batch}/cancel"), await client.post("/v1/batches", json=body),
                ):  # fmt: skip
                    assert answer.status_code == 404, answer.text
                assert [each["id"] for each in (await client.get("/v1/files")).json()["data"]] == [theirs]
                assert (await client.get("/v1/batches")).json()["data"] == []
            assert store.project().files.get(file) is not None

    asyncio.run(calls())


def test_servers_share_a_batch(model: flyball.Model, tmp_path: Path) -> None:
    names = [str(n) for n in range(24)]
    with Store.open(tmp_path / "s", instance="one") as one, Store.open(tmp_path / "s", instance="two") as two:
        identity = put(one, [line(name) for name in names])
        servers = [in_process(model, one), in_process(model, two)]

        async def work() -> None:
            await worked(servers, one, identity)

        asyncio.run(work())
        batch = one.project().batches.get(identity)
        assert batch is not None
        assert batch.counts.completed == len(names)
        assert custom_ids(one, batch.output_file_id) == names
        assert all(item.tries == 1 for item in one.project().items.of(identity))
        assert all(server.observe.total("finished") > 0 for server in servers)


def test_what_a_dead_server_had_is_done_by_another(model: flyball.Model, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", instance="dead") as dead:
        identity = put(dead, [line("a"), line("b")])
        project = dead.project()
        project.batches.lead(identity, 300)
        project.batches.set_items(identity, [NewItem(n, str(n), json.dumps(line("")["body"])) for n in (1, 2, 3)])
        project.batches.advance(identity, "in_progress")
        assert len(project.items.claim(2, 300)) == 2
    with Store.open(tmp_path / "s", instance="living") as store:

        async def work() -> None:
            await worked([in_process(model, store)], store, identity)

        asyncio.run(work())
        batch = store.project().batches.get(identity)
        assert batch is not None
        assert custom_ids(store, batch.output_file_id) == ["1", "2", "3"]
        assert [item.tries for item in store.project().items.of(identity)] == [2, 2, 1]


@pytest.mark.parametrize(("n_busy", "completed"), [(1, True), (2, True), (3, False)])
def test_what_may_pass_is_tried_again(model: flyball.Model, tmp_path: Path, n_busy: int, completed: bool) -> None:
    with Store.open(tmp_path / "s", instance="one") as store:
        identity = put(store, [line("a", seed=3)])
        server = in_process(model, store, retry_seconds=0.01)
        refuse, asked = server.refuse_if_draining, 0

        def busy() -> None:
            nonlocal asked
            asked += 1
            if asked <= n_busy:
                raise flyball.errors.Unavailable("model", "is busy")
            refuse()

        server.refuse_if_draining = busy  # type: ignore[method-assign]

        async def work() -> None:
            await worked([server], store, identity)

        asyncio.run(work())
        batch = store.project().batches.get(identity)
        assert batch is not None
        assert (batch.output_file_id is not None, batch.error_file_id is not None) == (completed, not completed)
        (item,) = store.project().items.of(identity)
        assert item.tries == min(n_busy + 1, 3)


def test_a_window_that_ends(model: flyball.Model, tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", instance="one") as store:
        identity = put(store, [line("a"), line("b")], hours=0)
        project = store.project()
        project.batches.set_items(identity, [NewItem(n, str(n), "{}") for n in (1, 2)])
        project.batches.advance(identity, "in_progress")

        async def work() -> None:
            await worked([in_process(model, store)], store, identity)

        asyncio.run(work())
        batch = project.batches.get(identity)
        assert batch is not None
        assert (batch.state, batch.output_file_id) == ("expired", None)
        assert custom_ids(store, batch.error_file_id) == ["1", "2"]


def test_requests_of_people_go_first(model: flyball.Model, tmp_path: Path) -> None:
    """Of the places, most are never a batch's; and it begins nothing while somebody waits."""
    with Store.open(tmp_path / "s", instance="one") as store:
        identity = put(store, [line(str(n), max_tokens=200, ignore_eos=True) for n in range(8)])
        server = in_process(model, store)
        seen = []

        async def watch() -> None:
            while True:
                seen.append(server.batches.n_running)
                assert all(flight.ask.priority < -100 for flight in server.flights.flying)
                await asyncio.sleep(0)

        async def work() -> None:
            server.queue.n_waiting = 8
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await worked([server], store, identity)
            assert server.batches.n_running == 0

        asyncio.run(work())
        server = in_process(model, store)

        async def both() -> None:
            watching = asyncio.ensure_future(watch())
            await worked([server], store, identity)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

        asyncio.run(both())
        assert max(seen) == 2


def test_housekeeping_deletes_what_is_old(tmp_path: Path) -> None:
    now = time.time_ns() // 10**6
    with Store.open(tmp_path / "s", instance="one", clock=lambda: now - 31 * 86_400_000) as store:
        project = store.project()
        old = project.batches.create(CHAT, "file-x", 1)
        project.batches.advance(old.id, "failed")
        kept = project.batches.create(CHAT, "file-x", 1)
        file, stays = project.files.put("a", "batch", [b"x"], expires=now - 1), project.files.put("b", "batch", [b"x"])
        project.requests.begin(flyball.store.Request(id="r", api="a", model="m"))
        project.requests.finish("r", "done")
    with Store.open(tmp_path / "s", instance="two") as store:
        records = Records(store)
        records.purge()
        records.close()
        project = store.project()
        assert records.n_errors == 0, records.last_error
        assert [batch.id for batch in project.batches.all()] == [kept.id]
        assert (project.files.get(file.id), project.requests.get("r")) == (None, None)
        assert project.files.get(stays.id) is not None
