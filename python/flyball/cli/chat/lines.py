"""The loop of a conversation: a line is a message, or a command if it begins with a slash."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ...errors import Error
from .. import common
from . import commands
from .conversation import Conversation

_TERMINAL_LINE = 4095  # bytes of a line that Linux terminals keep; the rest is lost


def talk(conversation: Conversation, read: Callable[[], str | None]) -> None:
    """Read messages and commands and answer them, until None or /bye comes."""
    common.write("Type a message; /help lists commands.\n")
    while (line := read()) is not None:
        if not line.strip():
            continue
        try:
            if line.startswith("/"):
                if not commands.run(conversation, line.strip()):
                    break
            else:
                conversation.answer(line)
        except Error as error:
            common.say_error(error)
        except KeyboardInterrupt:  # between two tokens' own handling
            conversation.screen.note("stopped")


def read() -> str | None:
    """A line of standard input, which is no terminal or one that cannot be edited; None at its end."""
    while True:
        try:
            line = input("> ")
        except EOFError:
            common.write("\n")
            return None
        except KeyboardInterrupt:
            common.write("\n(/bye or Ctrl-D ends)\n")
        except UnicodeDecodeError:
            common.say_error("the input is not UTF-8")
        else:
            if sys.stdin.isatty() and len(line.encode(errors="replace")) == _TERMINAL_LINE:
                common.say_error(f"the terminal has cut the line at {_TERMINAL_LINE} bytes, so it is not sent")
                continue
            return line
