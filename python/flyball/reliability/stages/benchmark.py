"""Benchmark: run the frozen cases and compare them with the newest comparable run on any machine that did not fail.

Comparable are runs of the same corpus, model and seed: their answers are the same on every machine, by contract. A run
that a user has accepted is compared with even if it failed. Digests and counters decide. Times are only reported, as
they are not measured in turn with the earlier run's; that is what `flyball bench run --against` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ...evidence.gates import Outcome, inconclusive
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
    values = {**_values(found), "limits": limits.effective("bench_counters", "bench_slow_down")}
    runs = [record for record in context.of_model if record.values("benchmark")]
    same = [record for record in runs if comparable(record.values("benchmark"), values)]
    earlier, why = _earlier(context.of_model, {record.run: record for record in same})
    evidence: dict[str, Any] = {
        "against": earlier.run if earlier else None,
        "against_machine": earlier.machine if earlier else None,
        "comparable": len(same),
        "comparable_elsewhere": sum(record.machine != context.machine for record in same),
        "not_comparable": len(runs) - len(same),
        "limits": values["limits"],
    }
    try:
        before = _cases(Fields(f"run {earlier.run}", earlier.values("benchmark"))) if earlier else {}
    except FormatError as error:
        verdict = inconclusive("BENCH_INSUFFICIENT_DATA", f"the earlier run cannot be read: {error}")
    else:
        verdict = overall(judge(before, found.cases, bounds, gone=found.failures), bounds, "not measured in pairs")
        if earlier is None and runs:
            message = f"{len(runs)} earlier runs are of another corpus, model or seed"
            hint = (
                "later runs are compared with this one; flyball reliability accept --why TEXT says that it is intended"
            )
            verdict = inconclusive("BENCH_NOT_COMPARABLE", message, hint, **verdict.evidence)
        elif earlier is None:
            message = "no earlier run has results: later ones are compared with this one"
            verdict = inconclusive("BENCH_INSUFFICIENT_DATA", message, **verdict.evidence)
        else:
            verdict = replace(verdict, message=f"{verdict.message}; {_against(earlier, context, len(same), why)}")
            evidence["ratios_of_times"] = {
                name: round(case.median_ms / before[name].median_ms, 3)
                for name, case in found.cases.items()
                if name in before and earlier.machine == context.machine
            }
        if verdict.outcome is Outcome.FAIL:
            hint = "if that is intended: flyball reliability accept --why TEXT"
            verdict = replace(verdict, hint=f"{verdict.hint}; {hint}" if verdict.hint else hint)
    verdict = replace(verdict, evidence=verdict.evidence | evidence)
    return StageResult("benchmark", verdict, values)


def comparable(values: Mapping[str, Any], with_values: Mapping[str, Any]) -> bool:
    """Whether two runs had the same corpus, model and seed; what version 0.1 did not record is taken as the same."""
    return all(values.get(name, with_values[name]) == with_values[name] for name in ("pack", "model", "seed"))


def _earlier(records: Sequence[Record], same: Mapping[str, Record]) -> tuple[Record | None, str]:
    """The comparable run to compare with, and why if a user chose it."""
    for n in reversed(range(len(records))):
        record = records[n]
        if record.act == "accept" and (accepted := same.get(record.by.get("run", ""))):
            return accepted, f"accepted by {record.by.get('who')}: {record.by.get('why')}"
        if record.act == "baseline" and (chosen := [r for r in records[:n] if r.run in same]):
            return chosen[-1], f"in the baseline {record.run}"
        if record.run in same and not record.failed("benchmark"):
            return record, ""
    return None, ""


def _against(earlier: Record, context: Context, n_comparable: int, why: str) -> str:
    where = "" if earlier.machine == context.machine else f" of the machine {earlier.machine}"
    runs = "1 comparable run" if n_comparable == 1 else f"{n_comparable} comparable runs"
    return f"compared with {earlier.run}{where}, {f'{why}; ' if why else 'of '}{runs}"


def _values(found: Results) -> dict[str, Any]:
    """Values for later runs. `pack`: SHA-256 of the corpus; that of a pack depends on the build."""
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
    return {"pack": found.corpus, "model": found.fingerprint, "seed": found.seed, "cases": cases}


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
