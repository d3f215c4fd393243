"""Quarantine, and the acts of a person: reset, baseline, accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import flyball
from flyball import journal
from flyball.bench.results import Results
from flyball.cli import main
from flyball.evidence.gates import failed, passed
from flyball.reliability import acts, runner, subject
from flyball.reliability.context import Context
from flyball.reliability.results import StageResult
from flyball.reliability.runner import Options
from flyball.reliability.stages import benchmark, quality
from flyball.reliability.store import Store
from tests.python.reliability.simulated_costs import at_rest
from tests.python.reliability.simulated_runs import World
from tests.reference.models import write_model


def run(artifacts: Path, *words: str) -> int:
    return main(["reliability", "run", "--artifacts", str(artifacts), *words])


@pytest.mark.usefixtures("fast")
def test_quarantine_bounds_the_policy_and_is_left_step_by_step(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole loop with the real REPL: harm, quarantine, stable runs, a trial, release."""
    mine = tmp_path / "mine.toml"
    options = Options(artifacts, policy_file=mine)
    options.limits = replace(options.limits, stable_streak=1, canary_bad=0.9)
    runner.run(options)
    limits = artifacts / "policy.toml.limits"
    assert "auto_apply" not in limits.read_text()
    real = quality.run
    harm = failed("QUALITY_HARMFUL_STREAK", "")
    monkeypatch.setitem(runner.STAGES, "quality", lambda context: replace(real(context), verdict=harm))
    assert runner.run(options).heal["mode"] == "quarantined"
    monkeypatch.setitem(runner.STAGES, "quality", real)
    for file in (limits, mine.with_name("mine.toml.limits")):
        assert 'policy.auto_apply = "off"' in file.read_text()
    quarantined = runner.run(options)
    assert quarantined.values("scenario")["applied"] == []  # the REPL obeyed
    verdict = quarantined.stages["self_heal"].verdict  # too few runs to judge costs: neither stable nor unstable
    assert (verdict.reason_id, verdict.evidence["undecided"]) == ("HEAL_KEPT", ("startup", "metrics"))
    assert [quarantined.heal[key] for key in ("mode", "stable", "undecided")] == ["quarantined", 0, 1]
    for stage in ("startup", "metrics"):  # as after ten runs
        monkeypatch.setitem(runner.STAGES, stage, Mock(return_value=StageResult(stage, passed("METRICS_PASSED", ""))))
    assert runner.run(options).heal["mode"] == "canary"
    assert 'policy.auto_apply = "conservative"' in limits.read_text()
    trial = runner.run(options)
    assert len(trial.values("scenario")["applied"]) == 2
    for _ in range(6):
        if runner.run(options).heal["mode"] == "active":
            break
    told = [
        event.reason_id for event in journal.read(artifacts / "journal.jsonl") if event.reason_id.startswith("HEAL")
    ]
    assert [*dict.fromkeys(told)] == [
        "HEAL_ACTIVE",
        "HEAL_QUARANTINED",
        "HEAL_KEPT",
        "HEAL_CANARY_BEGUN",
        "HEAL_CANARY_GOES_ON",
        "HEAL_RELEASED",
    ]
    assert "auto_apply" not in limits.read_text()


@pytest.mark.usefixtures("fast")
def test_a_person_can_hold_and_end_the_quarantine(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def reset(flag: str) -> int:
        return main(["reliability", "reset", flag, "--artifacts", str(artifacts)])

    assert run(artifacts, "--allow-insufficient-data") == 0
    assert reset("--unlatch") == 2
    assert reset("--latch") == 0
    for _ in range(2):
        assert run(artifacts) == 1
    assert "HEAL_LATCHED" in capsys.readouterr().out
    assert main(["reliability", "history", "--artifacts", str(artifacts)]) == 0
    assert "manual action: reset, quarantined" in capsys.readouterr().out
    assert reset("--unlatch") == 0
    assert reset("--active") == 0
    assert not (artifacts / "policy.toml.limits").exists()
    assert run(artifacts, "--allow-insufficient-data") == 0


@pytest.mark.usefixtures("fast")
def test_a_baseline_is_chosen_by_a_person(artifacts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reliability", "baseline", "--artifacts", str(artifacts)]
    assert main(words) == 2
    record = runner.run(Options(artifacts))
    for n in range(10):
        Store(artifacts).append(replace(at_rest(record), run=f"{record.run}-{n}"))
    assert main([*words, "--runs", "3"]) == 2
    assert main(words) == 0
    assert "of 10 runs" in capsys.readouterr().out
    record = runner.run(Options(artifacts))
    assert "the baseline of" in record.stages["metrics"].verdict.message


@pytest.mark.usefixtures("fast")
def test_acts_need_runs(artifacts: Path) -> None:
    with pytest.raises(flyball.NotFound):
        acts.set_baseline(Options(artifacts), 10)


# ---------------------------------------------------------------- whose runs count


def stub(name: str, reason_id: str, values: dict[str, Any]) -> Callable[[Context], StageResult]:
    return lambda context: StageResult(name, passed(reason_id, ""), values)


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Gates that pass, around the real quality and self_heal; the result is what the scenario leaves."""
    values: dict[str, Any] = {"applied": [{"action": "reduce_answer", "outcome": "improved"}] * 2}
    stubs = {
        "scenario": stub("scenario", "SCENARIO_COMPLETE", values),
        "startup": stub("startup", "STARTUP_PASSED", {}),
        "metrics": stub("metrics", "METRICS_PASSED", {}),
        "coverage": stub("coverage", "COVERAGE_PASSED", {}),
    }
    wanted = ("preflight", "history", *stubs, "quality", "self_heal")
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in wanted} | stubs)
    return values


def harmed(calm: dict[str, Any], options: Options) -> None:
    """Harm until the policy is in quarantine."""
    good = calm["applied"]
    calm["applied"] = [{"action": "reduce_answer", "outcome": "regressed"}] * 2
    while runner.run(options).heal.get("mode") != "quarantined":
        pass
    calm["applied"] = good


def test_runs_of_another_model_or_target_do_not_end_a_quarantine(
    artifacts: Path, tmp_path: Path, calm: dict[str, Any]
) -> None:
    other = write_model(tmp_path / "other.gguf", "llama", "Q8_0", n_ctx_train=512).path
    options = Options(artifacts)
    harmed(calm, options)
    before = Store(artifacts).history()[-1].heal
    assert before["about"]["target"] == "host"
    for elsewhere, word in (
        (Options(artifacts, model=other), "the model"),
        (Options(artifacts, policy_file=tmp_path / "mine.toml"), "the policy"),
    ):
        for _ in range(int(options.limits.stable_streak) + 1):
            record = runner.run(elsewhere)
            verdict = record.stages["self_heal"].verdict
            assert verdict.reason_id == "HEAL_OTHER_SUBJECT"
            assert f"about {word} " in verdict.message
            assert record.heal == before
    assert runner.run(options).heal["stable"] == before["stable"] + 1
    calm["applied"] = [{"action": "reduce_answer", "outcome": "regressed"}] * 2
    for _ in range(3):  # harm counts whosever run it is
        runner.run(Options(artifacts, model=other))
    assert Store(artifacts).history()[-1].heal["about"]["model"] != before["about"]["model"]


def test_a_quarantine_of_version_0_1_is_about_the_run_that_began_it(artifacts: Path, calm: dict[str, Any]) -> None:
    harmed(calm, Options(artifacts))
    records = [
        replace(record, heal={k: v for k, v in record.heal.items() if k != "about"})
        for record in Store(artifacts).history()
    ]
    model = records[-1].subjects["model"]
    assert subject.named(records[-1].heal, records)["about"] == {"model": model, "target": "host"}


def test_the_quality_gate_counts_by_position_when_the_clock_was_set_back(
    artifacts: Path, calm: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.run(Options(artifacts))
    acts.reset(Options(artifacts), active=True)
    monkeypatch.setattr("flyball.reliability.store.time.gmtime", lambda *_: (2020, 1, 1, 0, 0, 0, 2, 1, 0))
    counts = [runner.run(Options(artifacts)).values("quality")["n"] for _ in range(3)]
    assert counts == [2, 4, 6]


def test_runs_of_other_machines_are_named_where_costs_are_learned(artifacts: Path, fast: None) -> None:
    record = runner.run(Options(artifacts))
    assert "other machine" not in record.stages["metrics"].verdict.message
    for n in range(13):
        Store(artifacts).append(replace(record, run=f"elsewhere-{n}", machine="another"))
    after = runner.run(Options(artifacts))
    for stage in ("metrics", "startup"):
        assert after.stages[stage].verdict.message.endswith("; 13 runs of other machines exist")


# ---------------------------------------------------------------- accept


def test_an_intended_change_is_accepted_after_one_red_run(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = vars(benchmark)["run_pack"]
    kept: list[Results] = []

    def pack(*values: Any, **named: Any) -> Any:
        kept[:] = kept or [real(*values, **named)]
        return replace(kept[0], cases={n: replace(c, digest=digest or c.digest) for n, c in kept[0].cases.items()})

    wanted = ("preflight", "history", "benchmark", "dashboard", "report")
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in wanted})
    monkeypatch.setattr(benchmark, "run_pack", pack)
    digest = ""
    runner.run(Options(artifacts))
    assert runner.run(Options(artifacts)).passed("benchmark")
    digest = "another answer"
    red = runner.run(Options(artifacts))
    assert red.stages["benchmark"].verdict.reason_id == "BENCH_DIGEST"
    assert "flyball reliability accept" in red.stages["benchmark"].verdict.hint
    words = ["reliability", "accept", "--artifacts", str(artifacts)]
    assert main([*words, "--why", " "]) == 2
    assert main([*words, "--why", "new wording", "--run", "nobody's"]) == 2
    assert main([*words, "--why", "new wording", "--who", "Ada"]) == 0
    assert f"accepted {red.run} by Ada: new wording" in capsys.readouterr().out
    after = runner.run(Options(artifacts))
    assert after.passed("benchmark")
    assert "accepted by Ada: new wording" in (artifacts / "runs" / after.run / "report.md").read_text()
    for action in (["history"], ["explain", "--of", red.run]):
        assert main(["reliability", *action, "--artifacts", str(artifacts)]) == 0
        assert f"accepted {red.run} by Ada: new wording" in capsys.readouterr().out
    [event] = [event for event in journal.read(artifacts / "journal.jsonl") if event.reason_id == "RUN_ACCEPTED"]
    assert event.data["message"] == f"{red.run} is accepted: new wording, by Ada"
    digest = "a third answer"
    assert runner.run(Options(artifacts)).failed("benchmark")  # only what was accepted


def test_slower_costs_are_accepted_after_one_red_run(artifacts: Path) -> None:
    world = World(3)
    world.days(20, ("startup", "metrics"))
    world.slow = 1.3
    while not (red := world.run(("startup", "metrics"))).failed("metrics"):
        pass
    for record in world.history:
        Store(artifacts).append(record)
    acts.accept(Options(artifacts), "a safer kernel")
    world.history = Store(artifacts).history()
    assert world.history[-1].by["run"] == red.run
    assert not any(record.failed("metrics") for record in world.days(20, ("startup", "metrics")))
    world.slow = 1.7
    assert any(record.failed("metrics") for record in world.days(10, ("startup", "metrics")))
