"""A server in a process of its own, with a state folder of its own, and what the system tells of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running `flyball serve`."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    @contextmanager
    def started(cls, *words: str) -> Iterator[Server]:
        """Start `flyball serve WORDS` on a free port; it ends with the block."""
        with tempfile.TemporaryDirectory() as home:
            folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "")
            command = [sys.executable, "-m", "flyball", "serve", "--port", "0", "--set", "tune=off", *words]
            process = subprocess.Popen(
                command, env=os.environ | folders | {"HOME": home}, stdout=subprocess.PIPE, text=True
            )
            try:
                assert process.stdout is not None
                said = next((line for line in process.stdout if line.startswith("OpenAI")), "")
                if not said:
                    raise SystemExit(f"the server ended with {process.wait()}")
                yield cls(process, said.split()[1].removesuffix("/v1"))
            finally:
                process.terminate()
                process.wait()

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

    def private_bytes(self) -> int:
        """Memory of its own, also what was swapped: RssAnon + VmSwap."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return sum(int(found[name].split()[0]) << 10 for name in ("RssAnon", "VmSwap"))

    def n_files(self) -> int:
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))
