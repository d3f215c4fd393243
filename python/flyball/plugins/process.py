"""A plugin's process as the host sees it: started behind its wall, asked line by line, ended whole."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import Error
from .fetching import MOST_BYTES, Fetcher, Refused
from .found import Plugin
from .hooks import KINDS
from .manifest import Manifest, too_deep
from .walls import CHILD, Wall, sealed

MOST_LINE = 256 << 10  # bytes
MOST_TEXT = 64 << 10  # characters of a tool's result
_MOST_DEPTH = 32
_MOST_FETCHES = 16
_START_SECONDS = 20.0
_END_SECONDS = 0.3  # between the end of its lines and its own
_FETCH_SECONDS = 30.0  # the server's end waits for them
_MOST_SAID = 300  # characters of an error or of the last output
_FETCHING = ThreadPoolExecutor(8, thread_name_prefix="plugin-fetch")  # slow hosts keep no other threads

Line = dict[str, Any]


class PluginError(Error):
    """A plugin has failed: crashed, took too long, or gave what is no result."""

    code = "plugin_failed"


class PluginTold(Error):
    """A plugin said why it cannot answer: no failure."""

    code = "plugin_told"


@dataclass(frozen=True)
class Allowed:
    """A plugin that a project allows. `hosts`, `config`: what its owner has added; `since`: when, in milliseconds."""

    plugin: Plugin
    hosts: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    since: int = 0

    @property
    def name(self) -> str:
        """The plugin's."""
        return self.plugin.name

    @property
    def manifest(self) -> Manifest:
        """With the hosts that were added."""
        return self.plugin.manifest.with_hosts(self.hosts)


class Process:
    """One child; for one call at a time. Between calls it is stopped: no plugin works unasked."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.holds: list[str] = []  # what its seal keeps in
        self.used_seconds = 0.0
        self._number = 0
        self._name = f"plugin {allowed.name}"
        self._fetcher = Fetcher(allowed.manifest.permissions.hosts)
        self._folder = ""  # of its code
        self._output = -1  # what it prints, in memory; its limit of a file's size bounds it
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def start(cls, allowed: Allowed, wall: Wall) -> Process:
        """A process that has loaded the plugin. Raises PluginError."""
        process = cls(allowed)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process._start(wall)
        except TimeoutError:
            await process.end()
            raise process._failed(f"was not ready after {_START_SECONDS:g} seconds") from None
        except OSError as error:  # no room, no more processes
            await process.end()
            raise process._failed(f"could not be started: {error.strerror or error}") from None
        except BaseException:
            await process.end()
            raise
        process._signal(signal.SIGSTOP)
        return process

    async def _start(self, wall: Wall) -> None:
        self._output = os.memfd_create("output")
        self._folder = tempfile.mkdtemp(prefix="flyball-plugin-")
        await asyncio.to_thread(self._write_code)
        permissions = self.allowed.manifest.permissions
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *wall.command(self._folder, permissions.read, [str(CHILD), str(theirs.fileno())]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={},
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=MOST_LINE)
        start = {
            "folder": self._folder,
            "object": self.allowed.plugin.object,
            "kinds": self.allowed.manifest.capabilities,
            "config": {**self.allowed.manifest.config, **self.allowed.config},
            "memory_bytes": permissions.memory_mb << 20,
            "read": sealed(self._folder, permissions.read),
        }
        await self._send(start)
        line = await self._line()
        if "failed" in line:
            raise self._failed(f"did not load: {_text(line['failed'])}")
        if not isinstance(line.get("ready"), list):
            raise self._failed("began with another line than ready")
        self.holds = [str(each) for each in line["ready"]]

    def _write_code(self) -> None:
        """Its files as they were hashed: what lies on the disk by now is another matter."""
        for name, content in self.allowed.plugin.code.items():
            path = Path(self._folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    async def call(self, kind: str, value: object, schema: Mapping[str, Any] | None = None) -> Any:
        """What the hook of this kind gives for a value. Raises PluginTold, or PluginError: then it must be ended."""
        seconds = self.allowed.manifest.permissions.seconds
        began = time.monotonic()
        os.ftruncate(self._output, os.lseek(self._output, 0, os.SEEK_SET))  # each call may print as much
        self._number += 1
        self._signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(seconds):
                await self._send({"id": self._number, "kind": kind, "value": value, "schema": schema})
                return self._result(kind, await self._answer(began + seconds))
        except TimeoutError:
            raise self._failed(f"took longer than {seconds:g} seconds and was ended") from None
        finally:
            self.used_seconds += time.monotonic() - began
            self._signal(signal.SIGSTOP)

    async def _answer(self, ends: float) -> Line:
        """The line that ends the call; what it wants fetched meanwhile is."""
        n_fetches = 0
        while True:
            line = await self._line()
            if line.get("id") != self._number or len(line) != 2:
                raise self._failed("sent a line that answers nothing")
            if "fetch" not in line:
                return line
            if (n_fetches := n_fetches + 1) > _MOST_FETCHES:
                raise self._failed(f"wanted more than {_MOST_FETCHES} fetches for one call")
            loop = asyncio.get_running_loop()
            await self._send(await loop.run_in_executor(_FETCHING, self._fetch, line["fetch"], ends))

    def _fetch(self, wanted: object, ends: float) -> Line:
        if not isinstance(wanted, dict) or not isinstance(wanted.get("url"), str):
            return {"refused": "the request has no url"}
        try:
            body = None if wanted.get("body") is None else base64.b64decode(str(wanted["body"]), validate=True)
            kind = str(wanted.get("kind", ""))
            if len(body or b"") > MOST_BYTES or not kind.isprintable() or not kind.isascii() or len(kind) > 200:
                return {"refused": "the body or its type is too long"}
            seconds = min(_FETCH_SECONDS, max(0.001, ends - time.monotonic()))
            found = self._fetcher.fetch(wanted["url"], body, kind, seconds)
        except (Refused, binascii.Error) as error:
            return {"refused": str(error)}
        return {"status": found.status, "kind": found.kind, "body": base64.b64encode(found.body).decode()}

    def _result(self, kind: str, line: Line) -> Any:
        if "told" in line:
            raise PluginTold(self._name, _text(line["told"]))
        if "failed" in line:
            raise self._failed(_text(line["failed"]))
        if "result" not in line:
            raise self._failed("sent a line without a result")
        return self._checked(kind, line["result"])

    def _checked(self, kind: str, value: Any) -> Any:
        """A tool's result as text; a verdict, a proposal; of other kinds nothing."""
        gives = KINDS[kind].gives
        if kind == "tools":
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if len(text) > MOST_TEXT:
                raise self._failed(f"gave {len(text)} characters, a tool's result has at most {MOST_TEXT}")
            return text
        if value is None or gives is None:
            return None
        wanted = {each.name: {"bool": bool, "str": str}[str(each.type)] for each in fields(gives)}
        right = isinstance(value, dict) and value.keys() == wanted.keys()
        if not right or not all(isinstance(value[name], each) for name, each in wanted.items()):
            raise self._failed(f"gave no {gives.__name__}")
        return gives(**{name: each[:_MOST_SAID] if isinstance(each, str) else each for name, each in value.items()})

    async def _send(self, line: Line) -> None:
        assert self._writer is not None
        with suppress(ConnectionError):  # that it has ended is seen when it is read
            self._writer.write(json.dumps(line).encode() + b"\n")
            await self._writer.drain()

    async def _line(self) -> Line:
        try:
            raw = await self._reader.readline()
        except ValueError:
            raise self._failed(f"sent a line of more than {MOST_LINE >> 10} KiB") from None
        except ConnectionError:
            raw = b""
        if not raw.endswith(b"\n"):
            raise self._failed(await self._how_it_ended())
        try:
            line = json.loads(raw, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise self._failed("sent a line that is no JSON") from None
        if not isinstance(line, dict) or too_deep(line, _MOST_DEPTH):
            raise self._failed(f"sent JSON that is no object, or nested deeper than {_MOST_DEPTH}")
        return line

    async def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            async with asyncio.timeout(_END_SECONDS):
                code = await self._process.wait()
        except TimeoutError:
            return "closed its connection"
        start = max(0, os.fstat(self._output).st_size - _MOST_SAID)
        last = os.pread(self._output, _MOST_SAID, start).decode(errors="replace").strip()
        return f"ended with code {code}" + (f": {_text(last)}" if last else "")

    def _failed(self, what: str) -> PluginError:
        return PluginError(self._name, what)

    def _signal(self, number: int) -> None:
        """To all that belong to it: it can leave neither its group nor its session."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def end(self) -> None:
        """Kill it, and remove what it had."""
        self._signal(signal.SIGKILL)
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            await self._process.wait()
        if self._output >= 0:
            os.close(self._output)
        await asyncio.to_thread(shutil.rmtree, self._folder, True)


def _text(value: object) -> str:
    """What a plugin says, as a short line."""
    line = " ".join(str(value)[: 4 * _MOST_SAID].split())
    return "".join(each if each.isprintable() else "?" for each in line)[:_MOST_SAID]


def _no_constant(name: str) -> None:
    raise ValueError(name)
