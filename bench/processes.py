"""Servers in processes of their own, with state folders of their own, and what the system tells of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from typing import Self

from flyball.load import process


class Server(process.Server):
    """A running `flyball serve`."""

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
        return process.cpu_seconds(self.process.pid)

    def private_bytes(self) -> int:
        """Memory of its own, also what was swapped: RssAnon + VmSwap."""
        return process.private_bytes(self.process.pid)

    def n_files(self) -> int:
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def free_port() -> int:
    """A port of this machine that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Program:
    """`flyball WORDS` at a port of its own, which can be killed and started again. It ends with its block."""

    def __init__(self, *words: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._words = words
        self._home = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "")
        environment = os.environ | folders | {"HOME": self._home.name}
        command = [sys.executable, "-m", "flyball", *self._words, "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, env=environment, cwd=self._home.name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if not any(line.startswith("OpenAI") for line in self._process.stdout):
            raise SystemExit(f"flyball {' '.join(self._words)} ended with {self._process.wait()}")

    def kill(self) -> None:
        """SIGKILL: it can do nothing more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._home.cleanup()
