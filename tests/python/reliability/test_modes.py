"""Modes of stages (fail, warn, off) and the gate in percent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from flyball import journal
from flyball.cli import main
from flyball.evidence.gates import failed, passed
from flyball.reliability import runner, series
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.stages import metrics
from flyball.reliability.store import Store

Run = Callable[..., int]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def run(artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs in which the stage metrics fails and all others pass or lack history."""
    names = (
        "preflight",
        "scenario",
        "metrics",
        "coverage",
        "quality",
        "self_heal",
        "curriculum",
        "dashboard",
        "report",
    )
    stages = {name: runner.STAGES[name] for name in names}
    stages["metrics"] = lambda context: StageResult("metrics", failed("METRICS_SLOWER", "decode costs 9", "look"))
    monkeypatch.setattr(runner, "STAGES", stages)
    return lambda *words: main(
        ["reliability", "run", "--artifacts", str(artifacts), "--allow-insufficient-data", *words]
    )


def newest(artifacts: Path) -> Record:
    return Store(artifacts).history()[-1]


def test_a_failing_stage_fails_the_run(run: Run, artifacts: Path) -> None:
    assert run() == 1
    assert newest(artifacts).stages["metrics"].mode == "fail"


def test_a_warned_stage_shows_its_verdict_and_does_not_count(
    run: Run, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--stage", "metrics=warn") == 0
    out = capsys.readouterr().out
    assert "warn  metrics        METRICS_SLOWER            decode costs 9" in out
    assert ", 1 fail (warning); " in out
    assert "\n  metrics: look\n" in out
    record = newest(artifacts)
    assert record.failed("metrics")  # for what rests on it
    assert record.outcome != "fail"
    folder = artifacts / "runs" / record.run
    suite = ET.parse(folder / "junit.xml").getroot()
    assert suite.attrib["failures"] == "0"
    assert suite.find(".//testcase[@name='metrics']/skipped") is not None
    assert "fail (warning)" in (folder / "report.md").read_text().replace("\\", "")
    assert "fail (warning)" in (folder / "dashboard.html").read_text()
    assert main(["reliability", "explain", "metrics", "--artifacts", str(artifacts)]) == 0
    assert "limit: stages.metrics = warn (--stage)" in capsys.readouterr().out
    told = [event for event in journal.read(artifacts / "journal.jsonl") if event.data["stage"] == "metrics"]
    assert [(event.reason_id, event.data["outcome"], event.data["mode"]) for event in told] == [
        ("METRICS_SLOWER", "fail", "warn")
    ]


def test_a_stage_that_is_off_says_who_switched_it_off(
    run: Run, artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text('stable_streak = 7\n[stages]\nmetrics = "off"\ncoverage = "warn"\n')
    assert run("--limits", str(limits)) == 0
    out = capsys.readouterr().out
    assert f"off   metrics        RUN_SWITCHED_OFF          not run: switched off by {limits}" in out
    assert ", 1 off; " in out
    assert "pass  coverage" in out  # a warned stage that passes has nothing to warn of
    record = newest(artifacts)
    assert not record.passed("metrics")
    assert not record.failed("metrics")
    assert record.stages["metrics"].values == {}
    assert "RUN_SWITCHED_OFF" in {event.reason_id for event in journal.read(artifacts / "journal.jsonl")}
    assert main(["reliability", "status", "--artifacts", str(artifacts)]) == 0
    assert "off   metrics" in capsys.readouterr().out
    assert run("--limits", str(limits), "--stage", "metrics=fail") == 1  # the command line wins


def test_modes_that_cannot_be_name_their_file(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = tmp_path / "limits.toml"
    for text, why in (
        ('[stages]\nmetric = "warn"\n', "names 'metric', must be one of: preflight, "),
        ('[stages]\nmetrics = "maybe"\n', "stages.metrics is 'maybe', must be one of: fail, warn, off"),
        ('[stages]\nscenario = "off"\n', "has 'off' for scenario, which all other stages rest on"),
        ('[stages]\npreflight = "warn"\n', "has 'warn' for preflight, which all other stages rest on"),
        ('stages = "off"\n', "stages is 'off', must be a table: [stages]"),
    ):
        limits.write_text(text)
        assert run("--limits", str(limits)) == 2
        told = capsys.readouterr().err
        assert why in told
        assert str(limits) in told
    for word in ("metrics", "metrics=", "x=warn"):
        assert run("--stage", word) == 2
        assert "--stage" in capsys.readouterr().err


def test_a_result_says_its_mode_and_old_ones_had_none() -> None:
    result = StageResult("metrics", failed("METRICS_SLOWER", "x"), mode="warn")
    assert StageResult.from_dict(json.loads(json.dumps(result.as_dict()))) == result
    before = {key: value for key, value in result.as_dict().items() if key != "mode"}
    assert StageResult.from_dict(before).mode == "fail"
    assert result.label == "fail (warning)"
    assert replace(result, verdict=passed("METRICS_PASSED", "x")).label == "pass"


def judged(limits: Limits, ratio: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageResult:
    """The stage metrics, where its test of chance passes with this ratio of costs."""

    def passes(context: Context, family: str, names: object, values: dict[str, object]) -> object:
        values["drift"] = {"prefill": {"run": 1.0}, "decode": {"run": ratio}}
        return passed("METRICS_PASSED", "not beyond chance")

    monkeypatch.setattr(series, "verdict", passes)
    folder = Path(tmp_path)
    context = Context("r", folder, folder, PROFILES["quick"], limits=limits)
    return metrics.run(context)


def test_percent_is_a_gate_where_the_file_sets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("warn_percent = 10\nfail_percent = 20\n")
    limits = Limits.read(file)
    over = judged(limits, 1.25, tmp_path, monkeypatch)
    assert over.verdict.reason_id == "METRICS_OVER_LIMIT"
    assert over.verdict.message == "decode +25.0 %, the limit is 20 %"
    assert {"name": "fail_percent", "value": 20, "source": str(file)} in over.values["limits"]
    near = judged(limits, 1.15, tmp_path, monkeypatch)
    assert near.verdict.outcome == "pass"
    assert near.verdict.message == "not beyond chance; warning: decode +15.0 %, from 10 %"
    assert judged(limits, 1.05, tmp_path, monkeypatch).verdict.message == "not beyond chance"
    assert judged(Limits(), 1.9, tmp_path, monkeypatch).verdict.outcome == "pass"  # only a mark in the report
