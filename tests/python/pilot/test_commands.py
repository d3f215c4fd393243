"""`flyball pilot` and `flyball kpi` on the command line: what they print, write and give as their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flyball.cli import main

from .scripted import live

Capture = pytest.CaptureFixture[str]
LIVE = ["pilot", "run", "--turns", "2", "--live", "--random-choice", "--reset-state", "--set", "tune=off"]
STUB = ["pilot", "run", "--turns", "2", "--random-choice"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLM_PROFILE", "MODEL_VARIANTS", "SKIP_MODEL_PREFETCH", "MODEL_PREFETCH_BYTES", "CONFIG"):
        monkeypatch.delenv(f"FLYBALL_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def records(folder: Path) -> dict[str, Path]:
    return {json.loads(path.read_text())["mode"]: path for path in sorted(folder.glob("perf_report_*.json"))}


def test_live_then_stub_then_their_difference_and_the_week(capsys: Capture, tmp_path: Path) -> None:
    where = ["--tag", "live_pilot", "--report-dir", "runs/perf_reports"]
    assert main([*LIVE, *where, "--prefetch-bytes", "4096"]) == 2
    said = capsys.readouterr().out
    assert "too few turns: 2" in said or "over" in said  # how quick the machine is must not matter
    assert "8 of 8 answers have a receipt" in said
    assert main([*STUB, *where, "--stub"]) == 2
    assert "WATCH: stub, 2 turns, tag live_pilot" in capsys.readouterr().out
    found = records(tmp_path / "runs/perf_reports")
    stored = json.loads(found["live"].read_text())
    assert stored["llm_profile"] == "default"
    assert stored["llm_variants"] == dict.fromkeys(("event", "map", "world", "judge"), "default")
    assert stored["llm_cache_prefetch"] == {"default": 4096}
    page = found["live"].with_suffix(".md").read_text()
    assert "## Meta progression" in page
    assert "## Map safe function" in page
    assert main(["pilot", "diff", str(found["stub"]), str(found["live"])]) == 0
    assert "8 of 8 answers are equal, 8 of 8 digests, 2 of 2 conflicts" in capsys.readouterr().out
    assert main(["pilot", "diff", str(found["stub"]), str(found["live"]), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["added"]) == 6
    assert main(["kpi", "digest", "--out", "week.md"]) == 0
    assert capsys.readouterr().out.count("Trend: a new line.") == 2
    assert "# Pilot KPIs" in (tmp_path / "week.md").read_text()
    assert main(["kpi", "digest", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["lines"]) == 2


def test_exit_codes_are_those_of_the_verdict(capsys: Capture, tmp_path: Path) -> None:
    live(tmp_path / "r", 60)
    assert main(["pilot", "run", "--turns", "59", "--report-dir", "r", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["summary"]["verdict"], printed["mode"]) == ("GO", "stub")
    live(tmp_path / "slow", 5, lambda *_: 1000.0, at=1.9e9)
    assert main(["pilot", "run", "--turns", "3", "--report-dir", "r"]) == 2


def test_a_slow_stub_is_no_go(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    from flyball.pilot import run, stub

    from .scripted import Clock

    clock = Clock()
    replay = run.replay
    monkeypatch.setattr(run, "replay", lambda plan, path, times: replay(plan, path, times, clock, clock.sleep))
    assert stub.Times.of(False, "1000")
    live(tmp_path / "r", 3)
    assert main(["pilot", "run", "--turns", "3", "--report-dir", "r", "--delay", "1000"]) == 1
    assert "NO-GO: stub, 3 turns" in capsys.readouterr().out


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    monkeypatch.setenv("FLYBALL_SKIP_MODEL_PREFETCH", "1")
    monkeypatch.setenv("FLYBALL_MODEL_VARIANTS", "judge=tiny")
    monkeypatch.setenv("FLYBALL_CONFIG", str(tmp_path / "my.toml"))
    from flyball.engine.model import demo_model_path

    (tmp_path / "my.toml").write_text(f'tune = "off"\nmodels.tiny.model = "{demo_model_path()}"\n')
    assert main(["pilot", "run", "--turns", "1", "--live", "--report-dir", "r", "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["llm_variants"]["judge"] == "tiny"
    assert printed["llm_cache_prefetch"] == {}
    assert {call["variant"] for call in printed["turns"][0]["calls"]} == {"default", "tiny"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--turns", "0"], "--turns"),
        (["--seed", "-1"], "--seed"),
        (["--tag", "../x"], "--tag"),
        ([], "no record of a live run"),
        (["--ollama"], "ollama: is for live models"),
        (["--prefetch-bytes", "1"], "prefetch-bytes: is for live models"),
        (["--profile", "latency"], "profile: is for live models"),
        (["--live", "--delay", "1"], "delay: is for a stub"),
        (["--live", "--profile", "fast"], "profile"),
        (["--live", "--profile", "latency"], "q4_k_mistral"),
        (["--live", "--model", "x"], "is for a server"),
        (["--live", "--ollama", "x.gguf"], "--ollama"),
        (["--live", "--ctx", "512", "http://127.0.0.1:9"], "context"),
        (["--live", "http://127.0.0.1:9"], "does not answer"),
        (["--delay", "spy=1"], "--delay"),
        (["--record", "none.json"], "does not exist"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(capsys: Capture, words: list[str], said: str) -> None:
    assert main(["pilot", "run", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_kpi_without_records_is_an_error(capsys: Capture) -> None:
    assert main(["kpi", "digest"]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["kpi", "digest", "--weeks", "0"]) == 2
