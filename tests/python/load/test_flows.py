"""The client and the flows, with servers that answer as they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from flyball.load import driver, loop
from flyball.load.plan import Flow, JobsOptions
from flyball.load.record import Record
from flyball.load.wire import Connection, Pool

from .plans import CHAT, flow, plan, users

Answering = Callable[[bytes], bytes | None]
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def answering(answer: Answering) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives raw answers to requests' heads; None: it closes the connection. URL and heads."""
    heads: list[bytes] = []
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                if (raw := answer(head)) is None:
                    break
                writer.write(raw)
                if b"content-length" not in raw and b"chunked" not in raw:
                    break
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
        for task in list(tasks):
            if task is not None:
                task.cancel()


def body(raw: bytes, kind: bytes = b"text/html", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(raw), raw)


def run(answer: Answering, asked: Flow, key: str = "", **changes: float) -> tuple[Record, list[bytes]]:
    async def main() -> tuple[Record, list[bytes]]:
        async with answering(answer) as (url, heads):
            found = await driver.run(plan(asked, **changes), url, key)
        return found.records[0], heads

    return loop.run(main())


ONCE = users(1, iterations=1)


@pytest.mark.parametrize(
    "raw",
    [
        body(b"hello"),
        OK + b"transfer-encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        OK + b"\r\nhello",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
    ids=["length", "chunked", "until the end", "nothing"],
)
def test_bodies(raw: bytes) -> None:
    async def main() -> bytes:
        async with answering(lambda head: raw) as (url, _):
            connection = await Connection.open(url)
            found = await connection.ask("GET", "/")
            assert connection.complete
            connection.close()
            return found

    assert loop.run(main()) == (b"" if b"204" in raw else b"hello")


def test_connections_are_used_again_unless_they_are_closed() -> None:
    async def main() -> list[int]:
        answers = [body(b""), body(b""), body(b"").replace(b"\r\n\r\n", b"\r\nconnection: Close\r\n\r\n"), body(b"")]
        async with answering(lambda head: answers.pop(0)) as (url, _):
            pool, used = Pool(url), []
            for _ in range(4):
                connection = await pool.take()
                used.append(connection)
                await connection.ask("GET", "/")
                pool.give(connection)
            pool.close()
            return [used.index(each) for each in used]

    assert loop.run(main()) == [0, 0, 0, 3]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"SSH-2.0-x\r\n\r\n", "no HTTP/1.1 answer"),
        (b"HTTP/1.1 abc\r\n\r\n", "no HTTP/1.1 answer"),
        (None, "IncompleteReadError"),
        (OK + b"content-length: x\r\n\r\n", "ValueError"),
        (OK + b"content-length: 9\r\n\r\nab", "no answer in time"),
        (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "ValueError"),
        (OK + b"x: " + b"y" * (3 << 20), "LimitOverrunError"),
    ],
)
def test_what_is_no_answer_fails_and_is_told(raw: bytes | None, said: str) -> None:
    record, _ = run(lambda head: raw, flow(ONCE), timeout_s=2)
    assert (record.n_requests, record.n_failed_requests, record.n_good) == (1, 1, 0)
    assert said in next(iter(record.errors))
    assert len(record.iteration_ms) == 1


def test_nobody_listens() -> None:
    record = loop.run(driver.run(plan(flow(ONCE)), "http://127.0.0.1:1")).records[0]
    assert (record.n_failed_requests, record.n_good) == (1, 0)
    assert "Connect call failed" in next(iter(record.errors)) or "refused" in next(iter(record.errors))


def test_a_page_is_loaded_with_what_it_names() -> None:
    """Each file once, modules that modules import too, and nothing of other servers."""
    files = {
        b"/": b'<link rel="icon" href="a.svg"><script src="/js/m.js"></script><script src="https://h/x.js"></script>',
        b"/a.svg": b"import './no.js'",
        b"/js/m.js": b'import { a,\n b } from "./n.js";\nimport "./m.js"; // import "./no.js"\n',
        b"/js/n.js": b'export * from "../o.js?v=1"',
        b"/o.js?v=1": b"",
    }
    record, heads = run(lambda head: body(files[head.split()[1]]), flow(ONCE))
    assert sorted(head.split()[1] for head in heads) == sorted(files)
    assert record.n_good == 1
    assert record.checks == {"page loads": [1, 0], "page's files load": [4, 0]}
    record, _ = run(lambda head: body(files[b"/"]) if head.split()[1] == b"/" else None, flow(ONCE))
    assert (record.n_good, record.n_failed_requests >= 1) == (0, True)


def chat_of(*events: str) -> bytes:
    return body("".join(f"data:{event}\r\n\r\n" for event in events).encode(), b"text/event-stream")


WORDS = '{"choices": [{"delta": {"content": "a"}}]}'


@pytest.mark.parametrize(
    ("events", "good", "said"),
    [
        ([WORDS, ' {"choices": [], "usage": {"completion_tokens": 3}}', " [DONE]"], True, ""),
        ([" [DONE]"], False, ""),
        ([WORDS, '{"error": {"message": "full"}}'], False, "full"),
        (["[1]"], False, "an event is no object"),
        (['{"choices": [{}]}'], False, "an event is none of a chat completion"),
        (["{"], False, "JSONDecodeError"),
    ],
)
def test_answers(events: list[str], good: bool, said: str) -> None:
    record, heads = run(lambda head: chat_of(*events), flow(ONCE, chat=True), key="secret")
    assert record.n_good == good
    assert said in "".join(record.errors)
    assert b"authorization: Bearer secret" in heads[0]
    if good:
        assert (record.n_tokens, len(record.first_token_ms), list(record.per_token_ms)) == (3, 1, [0.0])


def test_a_refused_login_ends_the_chat() -> None:
    asked = replace(flow(ONCE), options=replace(CHAT, login=True))
    record, heads = run(lambda head: body(b'{"error": "no"}', status=b"401 Unauthorized"), asked)
    assert len(heads) == 1
    assert record.checks == {"login is accepted": [0, 1]}
    assert record.n_failed_requests == 1
    assert list(record.errors) == ['GET /v1/models: 401 {"error": "no"}']


@pytest.mark.parametrize("raw", [b"[]", b"no", b"{}", b'{"id": "file-1", "status": "in_progress"}'])
def test_a_batch_that_never_ends_is_not_complete(raw: bytes) -> None:
    asked = replace(flow(ONCE), options=JobsOptions(("Hello",), 4, "", 2, 0.02))
    record, _ = run(lambda head: body(raw), asked, timeout_s=0.2)
    assert record.n_good == 0
    assert len(record.iteration_ms) == 1
    failed = {name for name, (_, fails) in record.checks.items() if fails}
    assert failed == ({"batch is complete"} if raw.startswith(b"{") else {"file is uploaded"})


def test_errors_of_many_kinds_are_counted_together() -> None:
    record = Record(flow(ONCE))
    for number in range(100):
        record.error(str(number))
    assert len(record.errors) == 21
    assert record.errors["other errors"] == 80
