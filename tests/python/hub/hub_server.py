"""A server that speaks as much of the hub's API as pulling needs, and can be made to fail."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPO = "org/model-GGUF"
COMMIT = "a" * 40


@dataclass
class Hub:
    """`files`: of the repository; `cut`: bytes after which a download breaks off, once; `down`: answers 503 since."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)  # other than the true ones
    gated: bool = False
    cut: int | None = None
    down: bool = False
    ranges: list[str | None] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)

    def listing(self) -> bytes:
        siblings = [
            {
                "rfilename": name,
                "size": len(raw),
                "lfs": {
                    "sha256": self.sha256.get(name, hashlib.sha256(raw).hexdigest()),
                    "size": len(raw),
                    "pointerSize": 130,
                },
            }
            for name, raw in self.files.items()
        ]
        return json.dumps({"_id": "1", "id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}).encode()


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve it at a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == f"/api/models/{REPO}" and hub.gated:
                self.refuse(403, "GatedRepo")
            elif path == f"/api/models/{REPO}":
                self.give(hub.listing())
            elif path.startswith(prefix := f"/{REPO}/resolve/{COMMIT}/") and path.removeprefix(prefix) in hub.files:
                self.download(path.removeprefix(prefix))
            else:
                self.refuse(404, "RepoNotFound")

        def download(self, name: str) -> None:
            hub.ranges.append(self.headers.get("range"))
            hub.downloads.append(name)
            if hub.down:
                self.refuse(503, "")
                return
            raw = hub.files[name]
            begin = int((self.headers.get("range") or "bytes=0-")[6:].partition("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("content-length", str(len(raw) - begin))
            if begin:
                self.send_header("content-range", f"bytes {begin}-{len(raw) - 1}/{len(raw)}")
            self.end_headers()
            if hub.cut is not None:
                raw, hub.cut, hub.down = raw[: begin + hub.cut], None, True
            self.wfile.write(raw[begin:])
            self.close_connection = True

        def give(self, raw: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("x-error-code", code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
