"""The runner: what a run leaves, what it refuses, and what it survives."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flyball import journal
from flyball.cli import main
from flyball.reliability import runner
from flyball.reliability.context import Context
from flyball.reliability.results import StageResult
from flyball.reliability.runner import Options
from flyball.reliability.store import Store
from tests.python.reliability.conftest import ALWAYS, FAST
from tests.reference.models import write_model


def run(artifacts: Path, *words: str) -> int:
    return main(["reliability", "run", "--artifacts", str(artifacts), *words])


def test_a_run_says_what_holds_and_why(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(artifacts) == 2  # without history some cannot be told
    out = capsys.readouterr().out
    assert "SCENARIO_COMPLETE" in out
    assert "COVERAGE_PASSED" in out
    assert "METRICS_INSUFFICIENT_DATA" in out
    assert run(artifacts, "--allow-insufficient-data", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["stages"]) == ALWAYS
    assert found["subjects"]["model"]
    folder = artifacts / "runs" / found["run"]
    explained = json.loads((folder / "explanations.json").read_text())
    assert all(row["sentence"] for row in explained["decisions"])
    assert {row["stage"] for row in explained["thresholds"]} >= {
        "startup",
        "metrics",
        "quality",
        "self_heal",
        "curriculum",
    }
    assert journal.check(artifacts / "journal.jsonl", artifacts / "journal.log").verified
    assert main(["journal", "explain", str(artifacts / "journal.jsonl")]) == 0
    assert "the script ran to its end" in capsys.readouterr().out
    for command in (["status"], ["explain"], ["explain", "quality"], ["history"], ["status", "--json"]):
        assert main(["reliability", *command, "--artifacts", str(artifacts)]) == 0
        assert "quality" in capsys.readouterr().out or command == ["history"]


def test_one_stage_alone_leaves_no_history(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(artifacts, "--only", "coverage") == 0
    assert "COVERAGE_PASSED" in capsys.readouterr().out
    assert not (artifacts / "history.jsonl").exists()
    assert main(["reliability", "status", "--artifacts", str(artifacts)]) == 2


@pytest.mark.usefixtures("fast")
def test_another_run_is_refused(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(artifacts).locked():
        assert run(artifacts) == 2
    assert "in use by another run" in capsys.readouterr().err
    assert run(artifacts, "--allow-insufficient-data") == 0


@pytest.mark.usefixtures("fast")
def test_what_cannot_be_used_ends_the_run(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    assert run(artifacts, "--model", str(bad)) == 1
    assert "PREFLIGHT_REFUSED" in capsys.readouterr().out
    config = tmp_path / "flyball.toml"
    config.write_text("threads = many\n")
    assert run(artifacts, "--config", str(config)) == 1
    assert "flyball.toml:1" in capsys.readouterr().out
    for words in (["--profile", "x"], ["--target", "x"], ["--only", "x"], ["--limits", str(tmp_path / "absent")]):
        assert run(artifacts, *words) == 2


@pytest.mark.usefixtures("fast")
def test_a_missing_tool_is_undecided(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert run(artifacts) == 2
    assert "PREFLIGHT_MISSING" in capsys.readouterr().out


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from flyball.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_reading_needs_no_scipy_and_a_run_misses_it_first(artifacts: Path) -> None:
    def without(names: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, names, "reliability", *words, "--artifacts", str(artifacts)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = without("scipy", "run")
    assert done.returncode == 2
    assert "PREFLIGHT_MISSING" in done.stdout
    assert "flyball[reliability]" in done.stdout
    for words, told in (
        (["status"], "preflight"),
        (["explain"], "scipy"),
        (["history"], "host quick"),
        (["reset", "--latch"], "quarantined, latched"),
        (["reset", "--unlatch"], "quarantined"),
        (["reset", "--active"], "active"),
        (["accept", "--why", "it"], "accepted"),
    ):
        done = without("scipy,numpy,jinja2", *words)
        assert told in done.stdout, done
        assert done.returncode == 0
        assert done.stderr == ""


@pytest.mark.usefixtures("fast")
def test_a_stage_that_breaks_is_undecided_and_the_others_go_on(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(context: object) -> StageResult:
        raise KeyError("surprise")

    monkeypatch.setitem(runner.STAGES, "metrics", broken)
    assert run(artifacts, "--allow-insufficient-data", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert found["stages"]["metrics"]["verdict"]["reason_id"] == "RUN_CRASHED"
    trace = artifacts / "runs" / found["run"] / "metrics.error.txt"
    assert "surprise" in trace.read_text()
    assert found["stages"]["metrics"]["verdict"]["hint"] == f"see {trace}"
    assert found["stages"]["curriculum"]["verdict"]["outcome"] == "pass"


@pytest.mark.usefixtures("fast")
def test_a_run_that_sets_no_confidence_leaves_the_one_before(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = artifacts / "policy.toml.limits"
    runner.run(Options(artifacts))
    before = limits.read_text()
    assert "policy.threshold = " in before

    def breaks(_: Context) -> StageResult:
        raise ValueError("surprise")

    monkeypatch.setitem(runner.STAGES, "curriculum", breaks)
    assert runner.run(Options(artifacts)).stages["curriculum"].verdict.reason_id == "RUN_CRASHED"
    assert limits.read_text() == before


def test_another_model_runs_the_scenario(artifacts: Path, tmp_path: Path) -> None:
    """Random weights: a chat that says nothing is a chat all the same."""
    path = write_model(tmp_path / "small.gguf", "llama", "Q8_0", n_ctx_train=512).path
    options = Options(artifacts, model=path, only=["scenario", "coverage"])
    record = runner.run(options)
    assert {name: str(r.verdict.outcome) for name, r in record.stages.items()} == dict.fromkeys(
        ("preflight", "scenario", "coverage"), "pass"
    ), record


@pytest.mark.usefixtures("fast")
def test_hostile_values_in_the_history_end_no_run(artifacts: Path) -> None:
    """A record of the right form whose values are not what stages expect: they cannot tell, and say so."""
    record = runner.run(Options(artifacts))
    for n, hostile in enumerate(("x", [1], None, {"load": "x", "prefill": -1, "decode": {}})):
        values = record.values("scenario") | {"cost": hostile, "applied": hostile, "reasons": hostile}
        stages = record.stages | {"scenario": replace(record.stages["scenario"], values=values)}
        Store(artifacts).append(replace(record, run=f"{record.run}-{n}", stages=stages))
    after = runner.run(Options(artifacts))
    crashed = {name for name, result in after.stages.items() if result.verdict.reason_id == "RUN_CRASHED"}
    assert crashed
    assert not crashed & {"preflight", "scenario", "coverage"}
    assert list(after.stages) == list(FAST)
