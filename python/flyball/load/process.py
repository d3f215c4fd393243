"""The server's process: started where that is asked for, and what the system tells of it and its children."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ..errors import FileError

_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_S = 30


@dataclass(frozen=True)
class Usage:
    """A moment of a process and its children: processor seconds so far, and memory."""

    at: float
    cpu_seconds: float
    rss_bytes: int
    private_bytes: int
    n_processes: int


def usage(pid: int, at: float) -> Usage | None:
    """None: the process has ended."""
    cpu, rss, private, n = 0.0, 0, 0, 0
    for each in tree(pid):
        with suppress(OSError, KeyError, IndexError, ValueError):  # it may end meanwhile
            cpu += cpu_seconds(each)
            sizes = _status(each)
            rss += sizes["VmRSS"]
            private += sizes["RssAnon"] + sizes["VmSwap"]
            n += 1
    return Usage(at, cpu, rss, private, n) if n else None


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def private_bytes(pid: int) -> int:
    """Memory of its own, also what was swapped: RssAnon + VmSwap."""
    sizes = _status(pid)
    return sizes["RssAnon"] + sizes["VmSwap"]


def _status(pid: int) -> dict[str, int]:
    lines = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(rest.split()[0]) << 10 for name, rest in lines if rest.endswith(" kB")}


def tree(pid: int) -> Iterator[int]:
    """A process, its children and theirs."""
    yield pid
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree(int(child))


def listener(url: str) -> int | None:
    """The process that listens at an address of this machine; None if it is not to be seen."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not _is_here(parts.hostname or ""):
        return None
    wanted = {f"socket:[{inode}]" for name in ("tcp", "tcp6") for inode in _listening(name, port)}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # another user's, or gone
                for file in (entry / "fd").iterdir():
                    with suppress(OSError):
                        if os.readlink(file) in wanted:
                            return int(entry.name)
    return None


def _is_here(host: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return True
    return False


def _listening(name: str, port: int) -> Iterator[str]:
    with suppress(OSError):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                yield words[9]


@dataclass(frozen=True)
class Server:
    """A running `flyball serve` with a state folder of its own. `key`: an API key that it knows."""

    process: subprocess.Popen[str]
    url: str
    key: str

    @classmethod
    @contextmanager
    def started(cls, *words: str, key: str = "") -> Iterator[Self]:
        """Start `flyball serve WORDS` on a free port; it ends with the block. Raises FileError if it does not start."""
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile("w+") as errors:
            folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "")
            environment = os.environ | folders | {"HOME": home, "FLYBALL_API_KEY": key}
            command = [sys.executable, "-m", "flyball", "serve", "--port", "0", "--set", "tune=off", *words]
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # a terminal's Ctrl-C is for the load: it ends the server after the last answer
            )
            try:
                assert process.stdout is not None
                said = next((line for line in process.stdout if line.startswith("OpenAI")), "")
                if not said:
                    code = process.wait()
                    errors.seek(0)
                    last = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
                    raise FileError("flyball serve", f"ended with {code} before it served: {last[:300]}")
                yield cls(process, said.split()[1].removesuffix("/v1"), key)
            finally:
                _stop(process)


def new_key() -> str:
    """An API key for a server that is started for a run."""
    return secrets.token_urlsafe(24)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
