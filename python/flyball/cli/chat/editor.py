"""Messages from a terminal: a line that can be edited, pasted into, completed and recalled."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from ...files import state_folder, write
from . import commands, keyboard, quotes
from .conversation import Conversation

_HISTORY_BYTES = 4 << 20


class Editor:
    """Reads the messages of one conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._session: PromptSession[str] = PromptSession(
            "> ",
            multiline=True,
            history=_history(conversation),
            completer=_CommandCompleter(),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,  # a menu would keep lines free below the prompt
            key_bindings=_keys(),
            input_processors=[TabsProcessor(tabstop=8, char1=" ", char2=" ")],  # else ^I
            prompt_continuation=lambda width, line, wraps: "" if wraps else " " * width,
            enable_suspend=True,
            enable_open_in_editor=True,
            output=_output(),
        )

    def read(self) -> str | None:
        """The next message or command; None after Ctrl-D."""
        while True:
            try:
                return quotes.unquoted(self._session.prompt())
            except EOFError:
                return None
            except KeyboardInterrupt:
                self._conversation.screen.note("/bye or Ctrl-D ends")
            finally:
                keyboard.mark_pastes()


def _history(conversation: Conversation) -> History:
    folder = state_folder()
    return InMemoryHistory() if folder is None else _FileHistory(folder / "chat_history", conversation)


class _FileHistory(FileHistory):
    """What was sent before, in a file; a folder or file that cannot be used is no failure."""

    def __init__(self, path: Path, conversation: Conversation) -> None:
        super().__init__(str(path))
        self._path, self._conversation = path, conversation
        self._shorten()

    def load_history_strings(self) -> Iterable[str]:
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        if not self._conversation.keeps_history:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            super().store_string(string.encode(errors="replace").decode())

    def _shorten(self) -> None:
        """Drop the older half of a long file, up to the beginning of an entry."""
        with suppress(OSError):  # a FileError is one as well
            if self._path.stat().st_size > _HISTORY_BYTES:
                kept = self._path.read_bytes()[-_HISTORY_BYTES // 2 :]
                write(self._path, kept[kept.find(b"\n# ") :])


class _CommandCompleter(Completer):
    """Commands, their words, and names of files."""

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        if not document.text.startswith("/"):
            return
        *before, word = document.text_before_cursor.split(" ")
        choices = commands.next_words(before)
        if choices is commands.FILES:
            yield from PathCompleter(expanduser=True).get_completions(Document(word), complete_event)
        else:
            yield from (Completion(choice + " ", -len(word)) for choice in choices if choice.startswith(word))


def _output() -> Vt100_Output:
    output = Vt100_Output.from_pty(sys.stdout)
    output.enable_cpr = False  # nothing here needs the cursor's place, and a late answer would look typed
    return output


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if quotes.is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.text = buffer.text.rstrip("\n")  # of a paste
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys
