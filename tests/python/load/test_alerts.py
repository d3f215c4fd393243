"""The file of alerts: two writers at once, one of them killed again and again, and what is left of a torn line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flyball
from flyball.load import alerts

WRITE = """
import sys
from flyball.load import alerts
path, name, n, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
for number in range(n):
    alerts.append(path, {"writer": name, "number": number, "text": "x" * size})
    print(number, flush=True)
"""


def writer(path: Path, name: str, n: int, size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(path), name, str(n), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_writers_and_kills(tmp_path: Path) -> None:
    """What a writer was told is written is there, whole and once; a killed one leaves at most the piece of a line."""
    path, n_kills, n = tmp_path / "data/alerts.jsonl", 4, 300
    steady = writer(path, "steady", n, 30_000)
    promised = []
    for kill in range(n_kills):
        killed = writer(path, f"killed {kill}", 1_000_000, 200_000)
        assert killed.stdout is not None
        for _ in range(4 + kill):
            killed.stdout.readline()
        time.sleep(0.003 * kill)  # somewhere in a write
        killed.send_signal(signal.SIGKILL)
        numbers = [int(line) for line in killed.stdout if line.endswith("\n")]
        promised.append(max([3 + kill - 1, *numbers]))
        killed.stdout.close()
        killed.wait()
    assert steady.stdout is not None
    assert [line.strip() for line in steady.stdout] == ["ready", *map(str, range(n))]
    steady.stdout.close()
    assert steady.wait() == 0
    alerts.append(path, {"writer": "last"})
    found = alerts.read(path)
    assert len(found.broken) <= n_kills
    assert all("killed" in each.text for each in found.broken)
    assert [each["number"] for each in found.entries if each["writer"] == "steady"] == list(range(n))
    for kill, least in enumerate(promised):
        numbers = [each["number"] for each in found.entries if each["writer"] == f"killed {kill}"]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > least
    assert found.entries[-1] == {"writer": "last"}


def test_a_torn_line_gets_an_end_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    alerts.append(path, {"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "tex')
    alerts.append(path, {"n": 3, "text": "a\nb\u2028ç"})
    alerts.append(path, {"n": 4})
    found = alerts.read(path)
    assert [each["n"] for each in found.entries] == [1, 3, 4]
    assert found.entries[1]["text"] == "a\nb\u2028ç"
    assert found.broken == [alerts.Broken(2, '{"n": 2, "tex')]
    assert path.read_bytes().count(b"\n") == 4


def test_lines_that_are_no_alerts_are_told(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1]\n\xff\n' + b"[" * 100_000 + b'\n{"b": 2}')
    found = alerts.read(path)
    assert found.entries == [{"a": 1}, {"b": 2}]
    assert [each.line for each in found.broken] == [3, 4, 5]


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(flyball.FileError, match="cannot be written"):
        alerts.append(tmp_path, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(flyball.FileError, match="--alerts names another"):
        alerts.append(tmp_path / "file/alerts.jsonl", {})
    with pytest.raises(flyball.NotFound):
        alerts.read(tmp_path / "none")
    with pytest.raises(flyball.FileError):
        alerts.append("/dev/full", json.loads("{}"))
