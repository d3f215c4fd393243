"""A server that does nothing, for load generators: it answers at once, but for a stall at a known time.

    python -m bench.stub [--port 0] [--work 0] [--stall AFTER:SECONDS]

`--work`: seconds of each answer. `--stall`: from AFTER seconds past the first request on, nothing is answered for
SECONDS; what comes meanwhile is answered when they are over. GET gives a page; a POST to /v1/chat/completions three
events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PAGE = b"<!doctype html><title>stub</title>"
_EVENTS = [{"choices": [{"delta": {"content": word}}]} for word in ("one", " two")] + [
    {"choices": [], "usage": {"completion_tokens": 2}}
]
_STREAM = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in _EVENTS) + b"data: [DONE]\n\n"


class Stub:
    """The server; `times` has when requests came and when they were answered, in seconds of the loop's clock."""

    def __init__(self, work: float = 0.0, stall: tuple[float, float] | None = None) -> None:
        self.times: list[tuple[float, float]] = []
        self._work = work
        self._stall = stall

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """Serve on a port; its URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, backlog=4096)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
                await self._wait()
                streams = head.startswith(b"POST")
                kind, body = (b"text/event-stream", _STREAM) if streams else (b"text/html", _PAGE)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(body)))
                writer.write(body)
        writer.close()

    async def _wait(self) -> None:
        clock = asyncio.get_running_loop().time
        came = clock()
        first = self.times[0][0] if self.times else came
        entry = len(self.times)
        self.times.append((came, came))
        if self._work:
            await asyncio.sleep(self._work)
        if self._stall is not None:
            begins = first + self._stall[0]
            if begins <= clock() < begins + self._stall[1]:
                await asyncio.sleep(begins + self._stall[1] - clock())
        self.times[entry] = came, clock()


def _length(head: bytes) -> int:
    name = b"content-length:"
    return next((int(line[len(name) :]) for line in head.lower().split(b"\r\n") if line.startswith(name)), 0)


def _stalling(text: str) -> tuple[float, float]:
    after, _, seconds = text.partition(":")
    return float(after), float(seconds)


async def _run(args: argparse.Namespace) -> None:
    async with Stub(args.work, args.stall).serving(args.port) as url:
        print(url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="a server that does nothing")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--work", type=float, default=0.0, help="seconds of each answer")
    parser.add_argument("--stall", type=_stalling, metavar="AFTER:SECONDS")
    args = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(args))


if __name__ == "__main__":
    main()
