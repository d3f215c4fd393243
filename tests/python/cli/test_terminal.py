"""Text of a model or of its file gives a terminal no commands: it is data, and shown as such."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball
from flyball.cli import common, main
from flyball.cli.terminal import harmless

from .terminals import flyball_in_a_terminal

Capture = pytest.CaptureFixture[str]
OSC, CSI = "\x1b]0;title\x07", "\x1b[31m"


def with_tokens_swapped(path: Path, *pairs: tuple[str, str]) -> Path:
    """The bundled model with tokens exchanged, so that it writes one of them where it would write the other."""
    raw = flyball.demo_model_path().read_bytes()
    key = b"tokenizer.ggml.tokens"
    start = raw.index(key) + len(key) + 16
    (count,) = struct.unpack_from("<Q", raw, start - 8)
    tokens, at = [], start
    for _ in range(count):
        (size,) = struct.unpack_from("<Q", raw, at)
        tokens.append(raw[at + 8 : at + 8 + size])
        at += 8 + size
    for pair in pairs:
        one, other = (tokens.index(text.encode()) for text in pair)
        tokens[one], tokens[other] = tokens[other], tokens[one]
    path.write_bytes(raw[:start] + b"".join(struct.pack("<Q", len(each)) + each for each in tokens) + raw[at:])
    return path


@pytest.fixture
def escaping(tmp_path: Path) -> Path:
    """Writes ESC for " cheerful" and BEL for " rabbit", in byte-level letters."""
    return with_tokens_swapped(tmp_path / "esc.gguf", ("\u011b", "\u0120cheerful"), ("\u0107", "\u0120rabbit"))


@pytest.mark.parametrize("attack", [OSC, CSI, "\x9b31m", "\x9d0;title\x9c", "\x1bP+q\x1b\\", "\x08\x7f\x00\x85\x8e"])
def test_no_control_character_comes_through_whole_or_in_pieces(attack: str) -> None:
    for shown in (harmless(f"a{attack}b"), "".join(map(harmless, f"a{attack}b"))):
        assert [each for each in shown if ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0] == []
        assert shown.startswith("a")
        assert shown.endswith("b")


def test_text_is_left_alone() -> None:
    text = "# Title\n\n\t* **b\u00f6ld** \u4f60\u597d \U0001f98a \u202e \u05e9\u05dc\u05d5\u05dd\u00a0`x`\n"
    assert harmless(text) == text
    assert harmless("line\r\nnext") == "line\nnext"
    assert harmless("\x1b") == "\u241b"


def test_run_shows_a_terminal_what_a_pipe_gets_raw(escaping: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    args = ["run", str(escaping), "-q", "-p", "Once upon a time", "-n", "12", "--no-receipt"]
    assert main(args) == 0
    assert b"\x1b" in capfdbinary.readouterr().out
    with flyball_in_a_terminal(*args) as terminal:
        assert terminal.end() == 0
    assert b"\x1b" not in terminal.seen
    assert b"\x07" not in terminal.seen
    assert "\u241b".encode() in terminal.seen


def test_json_has_no_controls_and_is_the_same_value(capsys: Capture) -> None:
    value = {"a\x9b": "\x7f\x80 \x1b \u00e4"}
    common.write_json(value)
    out = capsys.readouterr().out
    assert not {chr(code) for code in (0x1B, *range(0x7F, 0xA0))} & set(out)
    assert json.loads(out) == value


@pytest.mark.parametrize("command", ["info", "run"])
def test_an_error_that_quotes_a_file_is_one_harmless_line(command: str, tmp_path: Path, capsys: Capture) -> None:
    raw = bytearray(flyball.demo_model_path().read_bytes())
    at = raw.index(b"general.architecture") + len(b"general.architecture") + 12
    raw[at : at + 5] = b"\x1b]2;\x07"
    path = tmp_path / "odd.gguf"
    path.write_bytes(raw)
    main([command, str(path)])
    shown = capsys.readouterr()
    assert "]2;" in shown.out + shown.err
    assert "\x1b" not in shown.out + shown.err
    assert "\x07" not in shown.out + shown.err


def test_tables_have_printable_cells(model_file: Callable[..., Path], capsys: Capture) -> None:
    common.write_table([("name", f"x{OSC}\ny"), ("other", "\x9b31m")])
    assert capsys.readouterr().out == "name   x ]0;title  y\nother   31m\n"
