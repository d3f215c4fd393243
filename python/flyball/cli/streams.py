"""Standard streams as commands need them: always there, never the cause of a crash, JSON whatever the locale."""

from __future__ import annotations

import codecs
import json
import math
import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO

from ..errors import FileError
from .terminal import harmless, is_terminal


def prepare() -> None:
    """Open closed standard streams as /dev/null; a bad byte of the input becomes U+FFFD."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # else a file of ours gets its number, and somebody's output
            mode = "w" if number else "r"
            _occupy(number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if (reconfigure := getattr(sys.stdin, "reconfigure", None)) is not None:
        reconfigure(errors="replace")


def _occupy(number: int) -> None:
    with suppress(OSError):
        opened = os.open(os.devnull, os.O_RDWR)
        if opened > number:
            os.close(opened)
        os.set_inheritable(number, True)


def write(text: str) -> None:
    """Write text to standard output and flush; escape what its encoding lacks, and control characters on a terminal."""
    if is_terminal(sys.stdout):
        text = harmless(text)
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        _fail(error)


def write_json(value: object, indent: int | None = 2) -> None:
    """One JSON document on standard output: UTF-8 if that is its encoding, else ASCII; null for what is not finite."""
    utf8 = codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8"
    try:
        text = json.dumps(value, ensure_ascii=not utf8, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=not utf8, indent=indent)
    text = re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)  # terminals obey what JSON allows
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # replaced by a program
        write(text + "\n")
        return
    try:
        sys.stdout.flush()
        buffer.write((text + "\n").encode("utf-8", "backslashreplace"))  # a lone surrogate's escape is JSON's
        buffer.flush()
    except OSError as error:
        _fail(error)


def write_error(text: str) -> None:
    """Write to standard error; where that is not possible, the exit code has to do."""
    try:
        sys.stderr.write(text.encode("utf-8", "backslashreplace").decode())
        sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def flush() -> None:
    """Write what is still buffered, such as the text of --help."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _fail(error)


def give_up() -> None:
    """Write what is still buffered, if that is possible, when a command has failed anyhow."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _abandon(stream)


def _fail(error: OSError) -> None:
    _abandon(sys.stdout)
    if isinstance(error, BrokenPipeError):
        raise error
    raise FileError("standard output", f"cannot be written: {error.strerror or error}") from None


def _abandon(stream: TextIO) -> None:
    """Let nothing more be written: at exit Python would try again, and put its own exit code in place of ours."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value
