"""A double of the server's endpoints that the page uses. The question's first word chooses the answer."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "python/flyball/serve/page"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Json = dict[str, Any]
STATES = ("proposed", "approved", "rejected", "held_out")

HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2">

[press](javascript:window.hacked=3) [data](data:text/html,<script>window.hacked=4</script>) [fine](https://example.com/a)

[//evil](//evil.example/x) <a href="javascript:window.hacked=5">x</a> **<b onclick="window.hacked=6">bold</b>**

```html"><script>window.hacked = 7</script>
<script>window.hacked = 8</script>
```
"""
MARKDOWN = """# Governors

A *flyball* governor keeps a **steady** speed with `two balls`.

- arms
  - balls
- sleeve

1. spin
2. rise

> Quiet.

| part | does |
|---|---|
| ball | rises |

```python
print("code <b>")
```

See https://example.com/watt. And [Watt](http://example.org/james)."""


def status() -> Json:
    """What /v1/status tells of a quiet server."""
    return {
        "version": "0.2.0",
        "uptime_seconds": 93784.2,
        "state": "ready",
        "isa": "avx2",
        "threads": 8,
        "models": [
            {"name": "flyball-demo", "loaded": True, "context": 4096, "cache_type": "f16", "fingerprint": "5f2a" * 16},
            {"name": "other", "loaded": False, "context": 32768, "cache_type": "q8_0", "fingerprint": None},
        ],
        "requests": {"running": 2, "waiting": 1, "finished": 1284, "failed": 3, "canceled": 17},
        "tokens": {"prompt": 1_903_220, "generated": 245_117},
        "first_token_ms": {"p50": 182.4, "p95": 611.0},
        "tokens_per_second": {"decode": 41.7, "prefill": 388.0},
        "cycles_per_token": {"decode": 81_200_000, "prefill": 8_900_000},
        "cache": {"used_bytes": 734_003_200, "limit_bytes": 1_073_741_824},
        "decisions": [
            {
                "time": 1795000000.0,
                "reason_id": "BLOCK_TRIAL_PENDING",
                "sentence": "a change waits for its trial",
                "receipt": None,
            },
        ],
        "limits": [
            {"name": "first_token_p95_ms", "value": 611.0, "limit": 3000, "of": "pilot", "state": "GO"},
            {"name": "queue_share", "value": 0.625, "limit": 0.9, "of": "server", "state": "WATCH"},
            {"name": "stall_seconds", "value": None, "limit": 60, "state": "GO"},
            {"name": "of a later version", "value": 3, "limit": 4, "state": "GO"},
        ],
    }  # fmt: skip


def example(number: int, **members: Any) -> Json:
    """As /v1/examples gives it."""
    return {
        "object": "example", "id": f"ex-{number}", "state": "proposed", "version": 1, "kind": "correction",
        "answer": "The answer is 28, as 45 minus 17 is that.", "rejected": "The answer is 27, as 45 minus 17 is that.",
        "reason": None, "family": None, "source": "page", "voter": "local", "model": "flyball-demo",
        "messages": [{"role": "user", "content": f"Question {number}: what is 45 - 17?"}],
        "created_at": 1_795_000_000, "changed_at": 1_795_000_000, "changed_by": "local", "digest": None,
    } | members  # fmt: skip


@dataclass
class Double:
    """The server's state. Tests change what it says and read what it was asked."""

    url: str = ""
    key: str = ""
    answering: bool = True
    status: Json = field(default_factory=status)
    verdict: Json = field(default_factory=lambda: {"verified": True, "positions": 3, "message": "", "digest": "d" * 64})
    asked: list[Json] = field(default_factory=list)
    feedback: list[Json] = field(default_factory=list)
    examples: list[Json] = field(default_factory=list)
    changes: list[Json] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)  # ends what a slow answer waits for
    left: threading.Event = field(default_factory=threading.Event)  # the page hung up
    failures: int = 1  # how often "flaky" breaks

    def reset(self) -> None:
        fresh = Double(url=self.url)
        self.release.set()
        self.__dict__.update(fresh.__dict__)


class Refused(Exception):
    def __init__(self, status: int, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"retry-after": "7"} if status == 429 else {}
        self.body = {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | members
        }


REFUSALS = {
    "busy": Refused(429, "the queue is full"),
    "long": Refused(400, "too long", code="context_length_exceeded", n_prompt_tokens=5000, n_ctx=4096),
    "wrong": Refused(400, "top_p has to be at most 1", param="top_p"),
    "fail": Refused(500, "an exception <b>"),
    "loading": Refused(503, "loading"),
}


class Handler(BaseHTTPRequestHandler):
    double: Double
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `asked`."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            return self.file("index.html")
        if path.startswith("/page/"):
            return self.file(path.removeprefix("/page/"))
        return self.guarded(lambda: self.get(path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.guarded(lambda: self.post(self.path, body))

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.guarded(lambda: self.patch(self.path, body))

    def guarded(self, act: Any) -> None:
        try:
            if not self.double.answering:
                self.close_connection = True
                return
            if self.double.key and self.headers.get("authorization") != f"Bearer {self.double.key}":
                raise Refused(401, "a key is needed", code="invalid_api_key")
            act()
        except Refused as refused:
            self.json(refused.body, refused.status, refused.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.double.left.set()

    def get(self, path: str) -> None:
        if path == "/v1/models":
            names = [model["name"] for model in self.double.status["models"]]
            return self.json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        if path == "/v1/status":
            return self.json(self.double.status)
        if path == "/v1/examples":
            state = self.path.partition("state=")[2].partition("&")[0]
            counts = {name: sum(each["state"] == name for each in self.double.examples) for name in STATES}
            found = [each for each in self.double.examples if each["state"] == state]
            return self.json({"object": "list", "data": found, "has_more": False, "counts": counts})
        if path.startswith("/v1/examples/"):
            return self.json(self.example(path))
        if path.startswith("/v1/receipts/"):
            return self.raw(
                b'{"id": "r1", "receipt": {"seed": 18446744073709551615}, "signature": {}}', "application/json"
            )
        raise Refused(404, "no such thing")

    def post(self, path: str, body: Json) -> None:
        if path == "/v1/chat/completions":
            return self.answer(body)
        if path == "/v1/verify":
            return self.json(self.double.verdict)
        if path == "/v1/feedback":
            self.double.feedback.append(body)
            return self.json(body)
        raise Refused(404, "no such thing")

    def example(self, path: str) -> Json:
        return next(each for each in self.double.examples if each["id"] == path.rpartition("/")[2])

    def patch(self, path: str, body: Json) -> None:
        example = self.example(path)
        if body["version"] != example["version"]:
            raise Refused(409, "somebody changed it", code="conflict")
        self.double.changes.append(body)
        example |= body | {"version": example["version"] + 1}
        return self.json(example)

    def answer(self, body: Json) -> None:
        self.double.asked.append(body)
        scene = body["messages"][-1]["content"].split()[0]
        if scene in REFUSALS:
            raise REFUSALS[scene]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        number = len(self.double.asked)
        base = {"id": f"chatcmpl-r{number}", "object": "chat.completion.chunk", "model": body.get("model", "?")}

        def chunk(delta: Json | None = None, finish: str | None = None, **members: Any) -> None:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
            self.wfile.write(f"data: {json.dumps(base | {'choices': choices} | members)}\n\n".encode())
            self.wfile.flush()

        chunk({"role": "assistant", "content": None})
        self.wfile.write(b": heartbeat\n\n")
        if not self.play(scene, body, chunk):
            return
        chunk({}, "stop")
        usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
        chunk(None, usage=usage)
        proof = {"receipt": f"r{number}", "digest": "ab" * 32, "seed": 2**64 - 1, "stop_reason": "eos"}
        chunk(None, flyball=proof, timings={"predicted_per_second": 41.7, "predicted_cycles_per_token": 81_200_000})
        self.wfile.write(b"data: [DONE]\n\n")

    def play(self, scene: str, body: Json, chunk: Any) -> bool:
        """Streams the scene; False if the stream breaks there."""
        if scene == "think":
            chunk({"reasoning_content": "Balls rise "})
            self.double.release.wait(20)
            chunk({"reasoning_content": "when it spins."})
            chunk({"content": "They rise."})
        elif scene == "slow":
            chunk({"content": "First words"})
            while not self.double.release.wait(0.05):
                self.wfile.write(b": heartbeat\n\n")
                self.wfile.flush()
            chunk({"content": " and the rest"})
        elif scene == "flaky" and self.double.failures:
            self.double.failures -= 1
            chunk({"content": "Half an"})
            return False
        elif scene == "error":
            chunk({"content": "Half"})
            self.wfile.write(b'data: {"error": {"message": "deadline <i>", "type": "server_error"}}\n\n')
            return False
        elif scene == "tool":
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
                    ]
                }
            )
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at": 1}'}}]})
        else:
            texts = {"hostile": HOSTILE, "markdown": MARKDOWN, "huge": "*[`(" * 300_000, "json": '{"name": "Watt"}'}
            text = texts.get(scene, "Answer to: " + body["messages"][-1]["content"])
            for begin in range(0, len(text), max(1, len(text) // 7)):
                chunk({"content": text[begin : begin + max(1, len(text) // 7)]})
                time.sleep(0.002)
        return True

    def file(self, name: str) -> None:
        path = PAGE / name
        if path.parent != PAGE or not path.is_file():
            return self.json({"error": {"message": "no such file"}}, 404)
        return self.raw(path.read_bytes(), TYPES[path.suffix], headers={"cache-control": "max-age=60"})

    def json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.raw(json.dumps(value).encode(), "application/json", status, headers)

    def raw(self, data: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        fixed = {"content-type": kind, "content-length": str(len(data)), "content-security-policy": POLICY}
        for name, value in (fixed | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a browser that hangs up is no error
            super().handle_error(request, client_address)


@contextmanager
def serving() -> Iterator[Double]:
    double = Double()
    handler = type("Bound", (Handler,), {"double": double})
    with QuietServer(("127.0.0.1", 0), handler) as server:
        double.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield double
        finally:
            double.release.set()
            server.shutdown()
            thread.join()
