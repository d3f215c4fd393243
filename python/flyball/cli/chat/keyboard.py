"""What is typed while no line is edited: it waits unseen for the next one, pastes whole."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quiet() -> Iterator[None]:
    """Have the terminal keep what is typed. By itself, it would show it amid the answer, cut lines at 4,095 bytes, and
    send each line of a paste alone."""
    before = termios.tcgetattr(sys.stdin)
    input_modes, output_modes, control_modes, local_modes, *rest = before
    local_modes &= ~(termios.ICANON | termios.ECHO)
    mode = [input_modes & ~termios.ICRNL, output_modes, control_modes, local_modes, *rest]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, mode)
    mark_pastes()
    try:
        yield
    finally:
        with suppress(OSError, termios.error):  # the terminal may be gone
            mark_pastes(False)
            termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def mark_pastes(marked: bool = True) -> None:
    """Have the terminal mark the beginning and the end of a paste; an edited line leaves that switched off."""
    sys.stdout.write("\x1b[?2004h" if marked else "\x1b[?2004l")
    sys.stdout.flush()
