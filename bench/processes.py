"""A server in a process of its own, with a state folder of its own, and what the system tells of it."""

from __future__ import annotations

import os

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
