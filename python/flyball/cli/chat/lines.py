"""The loop of a conversation: a line is a message, or a command if it begins with a slash."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Error
from .. import common
from . import commands
from .conversation import Conversation


def talk(conversation: Conversation, read: Callable[[], str | None]) -> None:
    """Read messages and commands and answer them, until None or /bye comes."""
    common.write("Type a message; /help lists commands.\n")
    goes_on = True
    while goes_on:
        try:
            goes_on = _take(conversation, read())
        except Error as error:
            common.say_error(error)
        except KeyboardInterrupt:  # between what handles it: people press Ctrl-C just as an answer ends
            conversation.screen.note("stopped")


def _take(conversation: Conversation, line: str | None) -> bool:
    """Answer a message or run a command; False ends the conversation."""
    if line is None:
        return False
    if commands.is_command(line):
        return commands.run(conversation, line.strip())
    if line.strip():
        conversation.answer(line)
    return True


def read() -> str | None:
    """A line of standard input, which is no terminal or one that cannot be edited; None at its end."""
    while True:
        try:
            line = input("> ")
            common.check_uncut(line.encode(errors="replace"))
        except EOFError:
            common.write("\n")
            return None
        except KeyboardInterrupt:
            common.write("\n(/bye or Ctrl-D ends)\n")
        except UnicodeDecodeError:
            common.say_error("the input is not UTF-8")
        except Error as error:
            common.say_error(error)
        else:
            return line
