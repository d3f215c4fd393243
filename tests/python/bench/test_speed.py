"""`flyball bench speed` (contract 6): rows, keys, exit codes; what --sequences and --breakdown add."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.bench import speed
from flyball.cli import main

Capture = pytest.CaptureFixture[str]
CONTRACT = (
    "prefill_tok_s",
    "decode_tok_s",
    "prefill_cycles_per_token",
    "decode_cycles_per_token",
    "load_ms",
    "rss_mb",
    "read_bandwidth_gb_s",
)


@pytest.fixture
def measured(capsys: Capture, model_file: Callable[..., Path]) -> Callable[..., list[dict[str, Any]]]:
    """The rows of a small model."""

    def rows(*more: str) -> list[dict[str, Any]]:
        args = ["bench", "speed", str(model_file()), "--prompt", "16", "--gen", "4", "--repeat", "2", *more, "--json"]
        assert main(args) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["schema_version"] == 1
        return list(report["rows"])

    return rows


def test_a_row_for_each_thread_count(measured: Callable[..., list[dict[str, Any]]]) -> None:
    rows = measured("--threads", "1,2")
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        assert all(row[name] > 0 for name in CONTRACT)
        assert row["isa"] == flyball.isas()[0]
        assert row["decode_bandwidth_share"] is None  # so small a model is never read from memory
        assert (row["sequences"], row["sequences_tok_s"], row["breakdown"]) == (1, None, None)


def test_share_of_the_bandwidth(measured: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SMALLEST_PROBE", 1 << 20)
    [row] = measured("--threads", "1", "--isa", "scalar")
    bytes_per_second = row["decode_tok_s"] * row["decode_bytes_per_token"]
    assert row["decode_bandwidth_share"] == pytest.approx(bytes_per_second / row["read_bandwidth_gb_s"] / 1e9)
    [row] = measured("--threads", "1", "--no-bandwidth")
    assert row["read_bandwidth_gb_s"] is row["decode_bandwidth_share"] is None


def test_sequences_at_once(measured: Callable[..., list[dict[str, Any]]]) -> None:
    [row] = measured("--threads", "1", "--depth", "8", "--sequences", "3")
    assert row["sequences"] == 3
    assert row["sequences_tok_s"] > 0


def test_breakdown_accounts_for_every_cycle(measured: Callable[..., list[dict[str, Any]]]) -> None:
    [row] = measured("--threads", "1", "--depth", "32", "--breakdown")
    for phase in ("load", "prefill", "decode"):
        parts = [part for part in row["breakdown"] if part["phase"] == phase]
        assert sum(part["share"] for part in parts) == pytest.approx(1)
        assert all(part["cycles"] >= 0 for part in parts)
    matrices = [part for part in row["breakdown"] if part["part"] == "matrices"]
    assert len(matrices) == 2
    assert all(part["tops"] > 0 and part["gb_s"] > 0 for part in matrices)


def test_tables_for_people(capsys: Capture, model_file: Callable[..., Path]) -> None:
    args = ["bench", "speed", str(model_file()), "--prompt", "16", "--gen", "4", "--repeat", "1", "--depth", "8"]
    assert main([*args, "--sequences", "2", "--breakdown"]) == 0
    shown = capsys.readouterr().out
    assert "PREFILL TOK/S" in shown
    assert "2 sequences, " in shown
    assert "norms, rotations, activations" in shown


@pytest.mark.parametrize(
    "args",
    [
        ["--threads", "0"],
        ["--threads", "x"],
        ["--prompt", "0"],
        ["--depth", "-1"],
        ["--gen", "100000"],
        ["--sequences", "0"],
        ["--repeat", "0"],
        ["--isa", "neon"],
    ],
)
def test_what_cannot_be_measured_is_refused(args: list[str], capsys: Capture, model_file: Callable[..., Path]) -> None:
    assert main(["bench", "speed", str(model_file()), *args]) == 2
    err = capsys.readouterr().err
    assert err.startswith("flyball: ")
    assert err.count("\n") == 1


def test_the_old_form_is_read_for_one_version(capsys: Capture, model_file: Callable[..., Path]) -> None:
    few = ["--prompt", "4", "--gen", "2", "--repeat", "1", "--no-bandwidth"]
    assert main(["bench", str(model_file()), *few]) == 0
    shown = capsys.readouterr()
    assert "PREFILL TOK/S" in shown.out
    assert shown.err == (
        "flyball: warning: flyball bench [MODEL] is now flyball bench speed [MODEL];"
        " the old name goes with version 0.3\n"
    )
    assert main(["bench", "speed", str(model_file()), *few]) == 0
    assert capsys.readouterr().err == ""
