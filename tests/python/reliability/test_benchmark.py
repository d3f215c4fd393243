"""The benchmark stage: against the newest run that has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flyball.bench.results import Results, read
from flyball.evidence.gates import Outcome
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
    context.history = [Record("one", 0.0, stages={"benchmark": first}), Record("empty", 1.0)]
    return context


def with_values(context: Context, change: Callable[[dict[str, Any]], object]) -> Context:
    """An earlier run that left something else."""
    record = Record.from_dict(json.loads(json.dumps(context.history[0].as_dict())))
    change(record.values("benchmark"))
    return replace(context, history=[*context.history, record])


def test_the_stage_holds_against_the_newest_run(stage: Context) -> None:
    result = benchmark.run(stage)
    assert (result.stage, result.verdict.reason_id) == ("benchmark", "BENCH_PASSED")
    assert result.verdict.evidence["against"] == "one"
    assert set(result.values) == {"pack", "cases", "limits"}
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
