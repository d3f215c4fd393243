"""`flyball chat` typed by a script into a terminal that is one: tmux, whose screen is what a person would see."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .terminals import PATIENCE
from .thinking_model import write_thinking_model

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None and os.environ.get("CI") != "true", reason="tmux is not installed"
)
COLUMNS, ROWS = 100, 40
ESCAPES = re.compile(r"\x1b\[[\d;]*m")


class Screen:
    """A terminal in tmux, with a server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str | Path) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", self._socket, *words]
        unicode = {**os.environ, "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, env=unicode).stdout.decode()

    def keys(self, *keys: str) -> None:
        """Text, or names of keys as tmux has them."""
        self.tmux("send-keys", "-t", "chat", *keys)

    def paste(self, file: Path) -> None:
        """From tmux's clipboard, bracketed if the program has asked for it."""
        self.tmux("load-buffer", file)
        self.tmux("paste-buffer", "-p", "-t", "chat")

    def lines(self) -> list[str]:
        """What is on the screen, dim text between < and >."""
        text = self.tmux("capture-pane", "-e", "-p", "-t", "chat")
        text = re.sub(r"\x1b\[2m(.*?)(\n?)\x1b\[0m", r"<\1>\2", text, flags=re.DOTALL)
        return [line.rstrip() for line in ESCAPES.sub("", text).rstrip("\n").split("\n")]

    def ends(self) -> bool:
        """Whether the program ends, and tmux with it."""
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(["tmux", "-S", self._socket, "has-session"], capture_output=True).returncode == 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def wait_for(self, line: str) -> list[str]:
        """Until a line of the screen is this one, above a prompt; gives all lines."""
        deadline = time.monotonic() + PATIENCE
        while line not in (shown := self.lines()) or not shown[-1].startswith(">"):
            assert time.monotonic() < deadline, "\n".join(shown)
            time.sleep(0.05)
        return shown


@contextmanager
def chat(tmp_path: Path, *args: str) -> Iterator[Screen]:
    """`flyball chat ARGS` in a terminal of 100 x 40."""
    screen = Screen(tmp_path / "tmux")
    command = [sys.executable, "-m", "flyball", "chat", *args]
    screen.tmux("new-session", "-d", "-s", "chat", "-x", str(COLUMNS), "-y", str(ROWS), *command)
    try:
        screen.wait_for("Type a message; /help lists commands.")
        yield screen
    finally:
        subprocess.run(["tmux", "-S", screen._socket, "kill-server"], capture_output=True)


CONVERSATION = """\
This is the bundled demonstration model: tiny, trained to show Flyball, not to know facts.
Type a message; /help lists commands.
> What is 19 + 3?
19 + 3 = 22.
> What is 19 + 4?
19 + 4 = 23.
> /undo
<(taken back: What is 19 + 4?)>
> /set parameter temperature 0.5
> /retry
<(seed 1)>
19 + 3 = 22.
> This is line one.
          This is line two.
  And line three: what is 3 + 4?
3 + 4 = 7.
> /save said.json
<(4 messages saved to said.json; /load goes on with them)>
> /clear
<(the conversation is forgotten; the system message stays)>
> /load said.json
<(4 messages loaded; /show messages lists them)>
> /show messages
<user: >What is 19 + 3?
<assistant: >19 + 3 = 22.
<user: >This is line one.
        This is line two.
And line three: what is 3 + 4?
<assistant: >3 + 4 = 7.
>"""


def test_a_conversation_looks_as_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("This is line one.\n\tThis is line two.\nAnd line three: what is 3 + 4?\n")
    with chat(tmp_path, "--temp", "0") as screen:
        screen.keys("What is 12 + 3?", *(["Left"] * 5), "BSpace", "9", "Enter")
        screen.wait_for("19 + 3 = 22.")
        screen.keys("Up", "Left", "BSpace", "4", "Enter")
        screen.wait_for("19 + 4 = 23.")
        screen.keys("/un", "Tab", "Enter", "/set parameter temperature 0.5", "Enter", "/retry", "Enter")
        screen.wait_for("<(seed 1)>")
        screen.paste(tmp_path / "text.txt")
        screen.keys(
            "Enter", "not this", "C-c", "/save said.json", "Enter", "/clear", "Enter", "/load said.json", "Enter"
        )
        screen.keys("/show messages", "Enter")
        assert "\n".join(screen.wait_for("<user: >This is line one.")) == CONVERSATION
        screen.keys("C-d")
        assert screen.ends()


THOUGHTS = """\
> Tell me a story about a rabbit.
<Once upon a time, there was a
>
rabbit named Anna. She lived in a small village. She had
<(max_tokens)>
> /set hide
> /retry
<(temperature 0: the same answer again)>
rabbit named Anna. She lived in a small village. She had
<(max_tokens)>
>"""


def test_thoughts_are_dim_or_hidden(tmp_path: Path) -> None:
    model = write_thinking_model(tmp_path / "thinks.gguf")
    (tmp_path / "thinks.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}{{ '\\n' ~ m.content }}<|im_end|>{{ '\\n' }}{% endfor %}"
        "<|im_start|>assistant{{ '\\n' }}<think>{{ '\\n' }}"
    )
    with chat(tmp_path, str(model), "--temp", "0", "-n", "22", "--template", str(tmp_path / "thinks.jinja")) as screen:
        screen.keys("Tell me a story about a rabbit.", "Enter")
        screen.wait_for("<(max_tokens)>")
        screen.keys("/set hide", "Enter", "/retry", "Enter")
        shown = screen.wait_for("<(temperature 0: the same answer again)>")
        assert "\n".join(shown[shown.index("> Tell me a story about a rabbit.") :]) == THOUGHTS


def test_a_paste_of_20000_chinese_characters_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(1)
    text = "".join(chr(draw.randrange(0x4E00, 0x9FA6)) for _ in range(20_000))
    (tmp_path / "text.txt").write_text(text)
    (tmp_path / "length.jinja").write_text("{{ messages[-1].content|length }}")  # few tokens, so that all fits
    with chat(tmp_path, "-n", "4", "--template", str(tmp_path / "length.jinja")) as screen:
        screen.paste(tmp_path / "text.txt")
        screen.keys("!", "Left", "?", "Enter", "/save said.json", "Enter")
        screen.wait_for("<(2 messages saved to said.json; /load goes on with them)>")
    said = json.loads((tmp_path / "said.json").read_text())["messages"][0]["content"]
    assert said == text + "?!"
