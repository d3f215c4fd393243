"""A pseudo-terminal with a program in it, as a person would have it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PATIENCE = 120  # seconds until something that must come counts as missing


class Terminal:
    """What the program has written so far is `seen`; type() writes as a keyboard does."""

    def __init__(self, fd: int, child: subprocess.Popen[bytes]) -> None:
        self.fd, self.child = fd, child
        self.seen = b""

    def type(self, keys: str | bytes) -> None:
        """Write all of the keys, while reading what the program writes."""
        rest = keys.encode() if isinstance(keys, str) else keys
        while rest:
            _, ready, _ = select.select([], [self.fd], [], 0.01)
            if ready:
                rest = rest[os.write(self.fd, rest[:1024]) :]
            self._read(0)

    def wait_for(self, text: str | bytes, after: int = 0) -> bytes:
        """Read until `text` was written at or after position `after`; gives all from there."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.seen[after:]:
            assert time.monotonic() < deadline, f"{wanted!r} does not come: {self.seen[-2000:]!r}"
            if not self._read(0.2) and self.child.poll() is not None and not self._read(0):
                raise AssertionError(f"ended with {self.child.returncode} before {wanted!r}: {self.seen[-2000:]!r}")
        return self.seen[after:]

    def end(self) -> int:
        """Read until the program ends; gives its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.child.poll() is None or self._read(0):
            assert time.monotonic() < deadline, f"does not end: {self.seen[-2000:]!r}"
            self._read(0.05)
        return self.child.returncode

    def hang_up(self) -> None:
        """Close the terminal, as its window would."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _read(self, seconds: float) -> bool:
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            found = os.read(self.fd, 1 << 16)
        except OSError:  # the program has closed its side
            return False
        self.seen += found
        return bool(found)


@contextmanager
def flyball_in_a_terminal(
    *args: str, size: tuple[int, int] = (24, 200), env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """`flyball ARGS` with a controlling terminal of so many rows and columns; `env` adds to the environment."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    environment: Mapping[str, str] = {**os.environ, "TERM": "xterm-256color", **(env or {})}

    def take_terminal() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    child = subprocess.Popen(
        [sys.executable, "-m", "flyball", *args],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
        env=environment,
    )
    os.close(theirs)
    terminal = Terminal(ours, child)
    try:
        yield terminal
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        terminal.hang_up()
