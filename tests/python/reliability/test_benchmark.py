"""The benchmark stage: against the newest comparable run, of any machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flyball.bench.results import Results, read
from flyball.evidence.gates import Outcome, failed
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record
from flyball.reliability.stages import benchmark


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A context with one earlier run."""
    folder = tmp_path_factory.mktemp("stage")
    context = Context("one", folder, folder, PROFILES["quick"], target="qemu")
    first = benchmark.run(context)
    assert (first.verdict.outcome, first.verdict.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_INSUFFICIENT_DATA")
    context.of_model = [Record("one", 0.0, stages={"benchmark": first}), Record("empty", 1.0)]
    return context


def with_values(context: Context, change: Callable[[dict[str, Any]], object]) -> Context:
    """An earlier run that left something else."""
    record = Record.from_dict(json.loads(json.dumps(context.of_model[0].as_dict())))
    change(record.values("benchmark"))
    return replace(context, of_model=[*context.of_model, replace(record, run="two")])


def test_the_stage_holds_against_the_newest_run(stage: Context) -> None:
    result = benchmark.run(stage)
    assert (result.stage, result.verdict.reason_id) == ("benchmark", "BENCH_PASSED")
    assert result.verdict.evidence["against"] == "one"
    assert set(result.values) == {"pack", "model", "seed", "cases", "limits"}
    assert result.verdict.message.endswith("compared with one, of 1 comparable run")
    assert result.values["limits"] == result.verdict.evidence["limits"]  # explainability tells where they come from
    assert len(json.dumps(result.as_dict(), allow_nan=False)) < 16_000
    results = read(stage.folder / "bench.json")
    assert isinstance(results, Results)
    assert results.cases.keys() == result.values["cases"].keys()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["cases"]["decode-greedy"].update(digest="0"), "BENCH_DIGEST"),
        (lambda v: v["cases"]["decode-greedy"]["counters"].update(decode_calls=100), "BENCH_COUNTER"),
        (lambda v: v["cases"].update(gone=v["cases"]["decode-greedy"]), "BENCH_VANISHED"),
        (lambda v: v["cases"]["decode-greedy"].update(ms=0.001), "BENCH_PASSED"),
        (lambda v: v["cases"]["decode-greedy"].update(ms="x"), "BENCH_INSUFFICIENT_DATA"),
        (lambda v: v["cases"]["decode-greedy"].pop("counters"), "BENCH_INSUFFICIENT_DATA"),
    ],
)
def test_the_stage_judges_what_is_exact(
    stage: Context, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    assert benchmark.run(with_values(stage, change)).verdict.reason_id == reason


def test_limits_are_those_in_force(stage: Context) -> None:
    context = with_values(stage, lambda v: v["cases"]["decode-greedy"]["counters"].update(decode_calls=100))
    context.limits = Limits(bench_counters=2.0, sources={"bench_counters": "limits.toml"})
    verdict = benchmark.run(context).verdict
    assert verdict.reason_id == "BENCH_PASSED"
    assert {"name": "bench_counters", "value": 2.0, "source": "limits.toml"} in verdict.evidence["limits"]


def test_answers_of_another_machine_must_be_the_same(stage: Context) -> None:
    """They are equal by contract, so that a new machine has nothing to learn."""
    here = replace(stage, machine="new")
    assert benchmark.run(here).verdict.reason_id == "BENCH_PASSED"
    changed = with_values(here, lambda v: v["cases"]["decode-greedy"].update(digest="0"))
    changed.of_model[-1] = replace(changed.of_model[-1], machine="old")
    verdict = benchmark.run(changed).verdict
    assert verdict.reason_id == "BENCH_DIGEST"
    assert "compared with two of the machine old, of 2 comparable runs" in verdict.message
    assert verdict.evidence["comparable_elsewhere"] == 2
    assert verdict.evidence["ratios_of_times"] == {}  # costs of machines are not comparable


@pytest.mark.parametrize("name", ["pack", "model", "seed"])
def test_another_corpus_model_or_seed_is_not_compared(stage: Context, name: str) -> None:
    def elsewhere(values: dict[str, Any]) -> None:
        values[name] = "another"
        values["cases"]["decode-greedy"].update(digest="0")

    context = with_values(stage, elsewhere)
    assert benchmark.run(context).verdict.evidence["against"] == "one"  # the newest that is comparable
    del context.of_model[0]
    verdict = benchmark.run(context).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_NOT_COMPARABLE")
    assert "1 earlier runs are of another corpus, model or seed" in verdict.message
    assert verdict.evidence["not_comparable"] == 1


def test_a_run_of_version_0_1_is_comparable(stage: Context) -> None:
    context = with_values(stage, lambda values: [values.pop(name) for name in ("model", "seed")])
    assert benchmark.run(context).verdict.evidence["against"] == "two"


def test_a_run_that_a_user_accepted_is_the_one_to_compare_with(stage: Context) -> None:
    context = with_values(stage, lambda v: v["cases"]["decode-greedy"].update(digest="0"))
    failing = context.of_model[-1]
    verdict = failed("BENCH_DIGEST", "gives another answer")
    stages = {"benchmark": replace(failing.stages["benchmark"], verdict=verdict)}
    context.of_model[-1] = replace(failing, stages=stages)
    assert benchmark.run(context).verdict.reason_id == "BENCH_PASSED"  # of the run before
    context.of_model.append(Record("act", 2.0, act="accept", by={"run": "two", "who": "Ada", "why": "new words"}))
    verdict = benchmark.run(context).verdict
    assert verdict.reason_id == "BENCH_DIGEST"
    assert "compared with two, accepted by Ada: new words; 2 comparable runs" in verdict.message
    context.of_model[-1] = replace(context.of_model[-1], act="baseline", by={})
    assert "two, in the baseline act" in benchmark.run(context).verdict.message
