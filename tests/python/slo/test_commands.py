"""The commands: list, scenario, and the footer of --perf after any command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flyball.cli import main, perf
from flyball.slo.scenarios import SCENARIOS

FOOTER = re.compile(
    r"perf: wall [\d.]+ s, processor [\d.]+ s, [\d,]+ cycles, peak memory [\d.]+ [KMG]iB,"
    r" page faults [\d,]+ minor, [\d,]+ major\n"
)


def test_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(SCENARIOS)
    assert main(["bench", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["scenarios"]] == list(SCENARIOS)


def test_a_run_is_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "scenario", "classification", "--iter", "2", "--warmup", "0", "--out", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads(Path(printed.pop("file")).read_text())
    assert printed == written
    assert len(written["cases"]["classification"]["ms"]) == 2
    assert main(words) == 0
    assert "classification" in capsys.readouterr().out
    assert len(list(tmp_path.glob("scenarios-*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give one name of flyball bench list, or --all"),
        (["tool-call", "--all"], "give one name"),
        (["nothing"], "must be one of: short-question"),
        (["tool-call", "--iter", "0"], "--iter: is 0"),
        (["tool-call", "--warmup", "-1"], "--warmup: is -1"),
        (["tool-call", "--model", "none.gguf"], "none.gguf"),
    ],
)
def test_wrong_use(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "scenario", *words, "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_footer_is_arithmetic() -> None:
    assert perf.line(1.5, 2.25, 3_000_000, 64 << 20, 1200, 3) == (
        "perf: wall 1.500 s, processor 2.250 s, 3,000,000 cycles, peak memory 64.0 MiB,"
        " page faults 1,200 minor, 3 major\n"
    )


@pytest.mark.parametrize(
    "words", [["bench", "list", "--perf"], ["--perf", "bench", "list"], ["bench", "--perf", "list", "--json"]]
)
def test_the_footer_after_any_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    found = capsys.readouterr()
    assert FOOTER.fullmatch(found.err)
    assert "perf:" not in found.out


def test_the_footer_after_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slo", "gate", "--dir", str(tmp_path), "--perf"]) == 2
    first, second = capsys.readouterr().err.splitlines(keepends=True)
    assert FOOTER.fullmatch(first)
    assert second.startswith("flyball: ")


def test_no_footer_unasked_and_none_for_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list"]) == 0
    assert capsys.readouterr().err == ""
    assert perf.taken(["run", "--perf", "--", "--perf"]) == (["run", "--", "--perf"], True)
    assert perf.taken(["run", "--", "--perf"]) == (["run", "--", "--perf"], False)
