"""Where `flyball run` finds its prompt: words after the model, -p, a file, a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import flyball
from flyball.cli import common

DEMO = str(flyball.demo_model_path())
PROMPT = "Once upon a time"


def run(*args: str, stdin: bytes | int = subprocess.DEVNULL) -> subprocess.CompletedProcess[bytes]:
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    command = [sys.executable, "-m", "flyball", "run", *args]
    return subprocess.run(command, capture_output=True, timeout=300, **given)


def prompt_of(*args: str, stdin: bytes | int = subprocess.DEVNULL) -> str:
    done = run("--json", "-n", "1", "--no-receipt", *args, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return str(json.loads(done.stdout)["prompt"])


def test_a_pipe_is_the_prompt() -> None:
    assert prompt_of(stdin=b"What is 3 + 4?\n") == "What is 3 + 4?"
    assert prompt_of("--chat", stdin=b"What is 3 + 4?\r\n") == "What is 3 + 4?"
    assert prompt_of(DEMO, stdin="\u4f60\u597d".encode()) == "\u4f60\u597d"
    assert prompt_of(stdin=b"two\nlines\n\n") == "two\nlines\n"  # one line break ends a text file, no more


def test_a_file_as_standard_input_is_the_prompt(tmp_path: Any) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT + "\n")
    with file.open() as opened:
        assert prompt_of(stdin=opened.fileno()) == PROMPT
    assert prompt_of("-f", str(file)) == PROMPT
    assert prompt_of("-f", "-", stdin=b"Once upon a time\n") == PROMPT
    assert prompt_of("-f", str(file), stdin=b"not read") == PROMPT


@pytest.mark.parametrize("asked", [["-p", "Summarize:"], [DEMO, "Summarize:"]])
def test_a_pipe_follows_the_prompt_of_the_arguments(asked: list[str]) -> None:
    assert prompt_of(*asked, stdin=b"One.\nTwo.\n") == "Summarize:\nOne.\nTwo."
    assert prompt_of(*asked[:-1], asked[-1] + " ", stdin=b"One.") == "Summarize: One."
    assert prompt_of(*asked, stdin=b"") == "Summarize:"


def test_without_input_the_default_is_the_prompt() -> None:
    assert prompt_of() == prompt_of(stdin=b"") == PROMPT


def test_words_after_the_model_are_the_prompt() -> None:
    assert prompt_of(DEMO, "Tell me a story") == "Tell me a story"
    assert prompt_of(DEMO, "Tell", "me") == "Tell me"
    assert prompt_of("-q", DEMO, "--temp", "0", "Tell", "me") == "Tell me"  # flags between
    assert prompt_of(DEMO, "--", "-5 + 3") == "-5 + 3"


@pytest.mark.parametrize("word", ["Tell me a story", "What is 3/4?", "llama3", "word " * 1000])
def test_a_prompt_in_the_place_of_the_model_is_said_to_be_none(word: str) -> None:
    done = run(word)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert len(done.stderr) < 300
    assert b"is no model file; a prompt goes after the model, flyball run MODEL PROMPT, or after -p" in done.stderr


@pytest.mark.parametrize("word", ["none.gguf", "./none", "models/none.gguf"])
def test_a_missing_file_is_a_missing_file(word: str) -> None:
    assert b"No such file" in run(word).stderr


WRONG: list[tuple[list[str], bytes, bytes]] = [
    ([DEMO, "one", "-p", "two"], b"", b"prompt: is given twice"),
    ([DEMO, "one", "-f", "two"], b"", b"prompt: is given twice"),
    ([DEMO, "one", "--nonsense"], b"", b"unrecognized arguments: --nonsense"),
    ([], b"\n", b"prompt: is empty"),
    ([DEMO, ""], b"", b"prompt: is empty"),
    ([], b"\xff", b"is not UTF-8"),
]


@pytest.mark.parametrize(("args", "stdin", "said"), WRONG)
def test_wrong_prompts(args: list[str], stdin: bytes, said: bytes) -> None:
    done = run(*args, stdin=stdin)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_an_open_pipe_without_a_writer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "_PATIENCE_S", 0)
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w"):
        monkeypatch.setattr("sys.stdin", stdin)
        monkeypatch.setattr(common, "read_text", lambda _: "")
        assert common.piped_text() is None
    assert "waiting for standard input" in capsys.readouterr().err
