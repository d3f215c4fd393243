"""Benchmark: run the frozen cases and compare them with the newest run that did not fail.

Digests and counters decide. Times are only reported, as they are not measured in turn with the earlier run's; that is
what `flyball bench run --against` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...bench.compare import Bounds, judge, overall
from ...bench.fields import Fields, write
from ...bench.pack import Pack
from ...bench.results import CaseResult, Results
from ...bench.run import run as run_pack
from ...bench.worker import COUNTERS
from ...engine.model import Model, demo_model_path
from ...errors import FormatError
from ...evidence.gates import inconclusive
from ..context import Context
from ..results import Record, StageResult

_FILE = "bench.json"  # for flyball bench compare


def run(context: Context) -> StageResult:
    """Always runs on this machine: QEMU computes the same, and its times are meaningless."""
    path = context.model or demo_model_path()
    with Model.load(path, vocab_only=True) as model:
        pack = Pack.make(model, context.profile.name)
    found = run_pack(pack, path, 1, pack.repeat, lambda *_: None, most_runs=1, count=False)
    write(context.folder / _FILE, found.as_dict())
    limits = context.limits
    bounds = Bounds(limits.bench_slow_down, limits.bench_counters)
    earlier = _earlier(context.history)
    evidence: dict[str, Any] = {
        "against": earlier.run if earlier else None,
        "limits": limits.effective("bench_counters", "bench_slow_down"),
    }
    try:
        before = _cases(Fields(f"run {earlier.run}", earlier.values("benchmark"))) if earlier else {}
    except FormatError as error:
        verdict = inconclusive("BENCH_INSUFFICIENT_DATA", f"the earlier run cannot be read: {error}")
    else:
        verdict = overall(judge(before, found.cases, bounds, gone=found.failures), bounds, "not measured in pairs")
        evidence["ratios_of_times"] = {
            name: round(case.median_ms / before[name].median_ms, 3)
            for name, case in found.cases.items()
            if name in before
        }
    verdict = replace(verdict, evidence=verdict.evidence | evidence)
    return StageResult("benchmark", verdict, {**_values(found), "limits": evidence["limits"]})


def _earlier(history: Sequence[Record]) -> Record | None:
    """The newest run since the last manual baseline that has the cases and did not fail, or None."""
    for record in reversed(history):
        if record.act == "baseline":
            return None
        if record.values("benchmark") and not record.failed("benchmark"):
            return record
    return None


def _values(found: Results) -> dict[str, Any]:
    """Values for later runs. `pack`: SHA-256 of the corpus, as that of a pack depends on the build."""
    cases = {
        name: {
            "digest": case.digest,
            "counters": case.counters,
            "ms": round(case.median_ms, 3),
            "decode_cycles_per_token": _rounded(case.decode),
            "prefill_cycles_per_token": _rounded(case.prefill),
        }
        for name, case in found.cases.items()
    }
    return {"pack": found.corpus, "cases": cases}


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _cases(values: Fields) -> dict[str, CaseResult]:
    """Cases from _values()."""
    found = {}
    for name, case in values.sub("cases").subs():
        counters = case.sub("counters")
        found[name] = CaseResult(
            digest=case.text("digest"),
            counters={counter: counters.integer(counter) for counter in COUNTERS},
            ms=(case.positive("ms"),),
            prefill_cycles_per_token=(case.number_or_none("prefill_cycles_per_token"),),
            decode_cycles_per_token=(case.number_or_none("decode_cycles_per_token"),),
        )
    return found
