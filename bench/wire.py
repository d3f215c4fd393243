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

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect to http://host:port."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url}: must be http://HOST:PORT")
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=_LIMIT)
        return cls(parts.netloc, reader, writer)

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a request; `body` as it is if it is bytes, else as JSON."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = {"host": self.host, "content-length": str(len(raw)), **(headers or {})}
        if raw:
            lines.setdefault("content-type", "application/json")
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(head.encode() + b"\r\n" + raw)

    async def head(self) -> int:
        """Read the response's head; its status."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        return self.status

    async def chunks(self) -> AsyncIterator[bytes]:
        """The response's body as it comes."""
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers.get("content-length", "0")))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The JSON of server-sent events."""
        rest = b""
        async for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.startswith(b"data: ") and line != b"data: [DONE]":
                    yield json.loads(line[6:])

    async def whole(self) -> bytes:
        """All of the response's body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
        """Send a request and read its response; `status` has its status."""
        self.send(method, path, body, headers)
        await self.head()
        return await self.whole()

    def close(self) -> None:
        """Close the connection at once."""
        self.writer.close()
