"""A small HTTP/1.1 client for asyncio: with little work per event, for a load generator slows what it measures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_LIMIT = 1 << 20  # bytes of a line or buffered


@dataclass
class Connection:
    """An open connection, for one request after the other."""

    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    complete: bool = False  # the last response was read to its end

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect to http://HOST[:PORT] or https://HOST[:PORT]."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: must be http://HOST:PORT or https://HOST:PORT")
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        reader, writer = await asyncio.open_connection(parts.hostname, port, limit=_LIMIT, ssl=secure or None)
        return cls(parts.netloc.rpartition("@")[2], reader, writer)

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a request; `body` as it is if it is bytes, else as JSON."""
        self.complete = False
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {"host": self.host, "content-length": str(len(raw)), **(headers or {})}
        if raw:
            lines.setdefault("content-type", "application/json")
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(head.encode() + b"\r\n" + raw)

    async def head(self) -> int:
        """Read the response's head; its status."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        words = lines[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise ValueError(f"no HTTP/1.1 answer: {lines[0][:80]!r}")
        self.status = int(words[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        return self.status

    async def chunks(self) -> AsyncIterator[bytes]:
        """The response's body as it comes."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readuntil(b"\r\n")
        elif "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
        elif self.status not in (204, 304):
            self.headers["connection"] = "close"  # the body's end is the connection's
            while piece := await self.reader.read(1 << 16):
                yield piece
        self.complete = True

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The JSON of server-sent events."""
        rest = b""
        async for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and (text := line[5:].strip()) != b"[DONE]":
                    yield json.loads(text)

    async def whole(self) -> bytes:
        """All of the response's body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
        """Send a request and read its response; `status` has its status."""
        self.send(method, path, body, headers)
        await self.head()
        return await self.whole()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self.complete and self.headers.get("connection", "").lower() != "close" and not self.reader.at_eof()

    def close(self) -> None:
        """Close the connection at once."""
        self.writer.close()


class Pool:
    """Connections to one server, used again: a new one for each request would run out of ports.

    None is used after a rest of `_REST_S`, as servers close what rests, and a request on its way then would fail.
    """

    _REST_S = 2.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._free: list[tuple[float, Connection]] = []

    async def take(self) -> Connection:
        """A connection that is free, or a new one."""
        now = asyncio.get_running_loop().time()
        while self._free:
            since, connection = self._free.pop()
            if connection.reusable and now - since < self._REST_S:
                return connection
            connection.close()
        return await Connection.open(self._url)

    def give(self, connection: Connection) -> None:
        """Give a connection back, which is closed unless its response was read to its end."""
        if connection.reusable:
            self._free.append((asyncio.get_running_loop().time(), connection))
        else:
            connection.close()

    def close(self) -> None:
        """Close what is free."""
        for _, connection in self._free:
            connection.close()
        self._free.clear()
