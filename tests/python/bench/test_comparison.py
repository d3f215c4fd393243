"""Comparing results: what fails, what passes, and what the evidence does not suffice for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.bench.compare import Bounds, compare, compare_pairs, suspects
from flyball.bench.fields import write
from flyball.bench.markdown import matrix
from flyball.bench.results import CaseResult, Pairs, Results
from flyball.bench.worker import COUNTERS
from flyball.evidence.gates import Outcome

Capture = pytest.CaptureFixture[str]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema=0), "schema is 0"),
        (lambda d: d.pop("cases"), "cases is missing"),
        (lambda d: d.update(cases=[1]), "cases: is an array"),
        (lambda d: d["machine"].pop("digest"), "machine: digest is missing"),
        (lambda d: d["cases"]["decode-greedy"].pop("ms"), "decode-greedy: ms is missing"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[]), "decode-greedy: ms is empty"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[-1.0]), "ms[0] is -1.0, must be a positive number"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[0]), "ms[0] is 0, must be a positive number"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[math.nan]), "has NaN"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[math.inf]), "has Infinity"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[10**400]), "must be a positive number"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[True]), "ms[0] is true"),
        (lambda d: d["cases"]["decode-greedy"].update(ms=[1, 2]), "another number of samples"),
        (lambda d: d["cases"]["decode-greedy"].update(digest=None), "digest is null"),
        (lambda d: d["cases"]["decode-greedy"]["counters"].update(decode_calls=-3), "decode_calls is -3"),
        (lambda d: d["cases"]["decode-greedy"]["counters"].update(decode_calls=1.5), "decode_calls is 1.5"),
        (lambda d: d["cases"]["decode-greedy"]["counters"].pop("decode_calls"), "decode_calls is missing"),
        (lambda d: d["cases"]["decode-greedy"].update(instructions="many"), "instructions is 'many'"),
    ],
)
def test_broken_results_are_refused(
    broken: Callable[[Any], Path],
    tmp_path: Path,
    refused: Refused,
    measured: Results,
    change: Callable[[dict[str, Any]], object],
    told: str,
) -> None:
    base = tmp_path / "base.json"
    write(base, measured.as_dict())
    error = refused("compare", base, broken(change))
    assert "broken.json" in error
    assert told in error


def test_pairs_that_are_none_are_refused(tmp_path: Path, refused: Refused, measured: Results) -> None:
    path = tmp_path / "pairs.json"
    fewer = replace(measured, cases={name: timed(case, [1.0, 2.0]) for name, case in measured.cases.items()})
    write(path, Pairs(measured, fewer).as_dict())
    assert "they are not pairs" in refused("compare", path)


def timed(case: CaseResult, ms: list[float]) -> CaseResult:
    """A case with other times."""
    none = (None,) * len(ms)
    return replace(case, ms=tuple(ms), prefill_cycles_per_token=none, decode_cycles_per_token=none)


def with_case(results: Results, name: str, **changes: Any) -> Results:
    """Results with something else said of a case."""
    return replace(results, cases=results.cases | {name: replace(results.cases[name], **changes)})


def test_a_vanished_case_fails(measured: Results) -> None:
    fewer = replace(measured, cases={n: c for n, c in measured.cases.items() if n != "decode-greedy"})
    verdict = compare(measured, fewer).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.FAIL, "BENCH_VANISHED")
    assert verdict.message == "decode-greedy has no result"
    assert compare(measured, replace(fewer, failures={"decode-greedy": "no room"})).verdict.message.endswith("no room")
    more = compare(fewer, measured)
    assert more.verdict.reason_id == "BENCH_PASSED"
    assert [row.verdict.reason_id for row in more.rows if row.case == "decode-greedy"] == ["BENCH_INSUFFICIENT_DATA"]
    assert compare(replace(measured, cases={}), measured).verdict.reason_id == "BENCH_INSUFFICIENT_DATA"


def test_another_answer_is_told_apart_from_another_speed(measured: Results) -> None:
    slow = measured.cases["decode-greedy"].median_ms * 4
    changed = with_case(measured, "decode-greedy", digest="0" * 64, ms=(slow,))
    comparison = compare(measured, changed)
    assert (comparison.verdict.outcome, comparison.verdict.reason_id) == (Outcome.FAIL, "BENCH_DIGEST")
    assert {row.verdict.reason_id for row in comparison.rows if row.case != "decode-greedy"} == {"BENCH_PASSED"}
    slower = compare(measured, with_case(measured, "decode-greedy", ms=(slow,))).verdict
    assert (slower.outcome, slower.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_WATCH")  # they are no pairs
    assert "4.000 x as long" in slower.message


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_that_grew_fails(measured: Results, counter: str) -> None:
    case = measured.cases["guesses-greedy"]
    grown = {**case.counters, counter: case.counters[counter] + 1 + case.counters[counter] // 50}
    verdict = compare(measured, with_case(measured, "guesses-greedy", counters=grown)).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.FAIL, "BENCH_COUNTER")
    assert counter in verdict.message
    fewer = {**case.counters, counter: max(0, case.counters[counter] - 1)}
    assert compare(measured, with_case(measured, "guesses-greedy", counters=fewer)).verdict.reason_id == "BENCH_PASSED"
    wide = compare(measured, with_case(measured, "guesses-greedy", counters=grown), Bounds(counters=2.0))
    assert wide.verdict.reason_id == "BENCH_PASSED"


def test_instructions_count_on_the_same_machine(measured: Results) -> None:
    before = with_case(measured, "decode-greedy", instructions=1_000_000)
    for count, reason in ((1_009_000, "BENCH_PASSED"), (1_020_000, "BENCH_COUNTER"), (None, "BENCH_PASSED")):
        after = with_case(measured, "decode-greedy", instructions=count)
        assert compare(before, after).verdict.reason_id == reason
        assert compare(before, replace(after, isa="scalar")).verdict.reason_id == "BENCH_PASSED"


def test_another_machine_compares_what_is_exact(measured: Results) -> None:
    slow = with_case(measured, "decode-greedy", ms=(9e9,))
    for elsewhere in (
        replace(slow, machine={"name": "another", "n_processors": 1, "digest": "another"}),
        replace(slow, threads=8),
    ):
        verdict = compare(measured, elsewhere).verdict
        assert verdict.reason_id == "BENCH_PASSED"
        assert "times measured" in verdict.message
        other = with_case(elsewhere, "decode-greedy", digest="0" * 64)
        assert compare(measured, other).verdict.reason_id == "BENCH_DIGEST"
    for name, other in (
        ("another corpus", replace(measured, corpus="0" * 64)),
        ("another model", replace(measured, fingerprint="0" * 64)),
        ("another seed", replace(measured, seed=1)),
    ):
        with pytest.raises(flyball.InvalidArgument, match=name):
            compare(measured, other)


def test_a_regression_fails_where_that_is_asked_for(measured: Results) -> None:
    case = measured.cases["decode-greedy"]
    assert case.decode is not None
    slow = with_case(measured, "decode-greedy", ms=(1.2 * case.median_ms,))
    asked = Bounds(slow_down=1.15, regressions=True)
    verdict = compare(measured, slow, asked).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.FAIL, "BENCH_OVER_LIMIT")
    assert "decode-greedy takes 1.200 x as long, the limit is 15 %" in verdict.message
    assert compare(measured, slow, Bounds(slow_down=1.25, regressions=True)).verdict.outcome is Outcome.PASS
    assert compare(measured, slow, Bounds(slow_down=1.15)).verdict.reason_id == "BENCH_WATCH"
    tokens = with_case(measured, "decode-greedy", decode_cycles_per_token=(1.2 * case.decode,))
    assert "a decoded token takes 1.200 x as long" in compare(measured, tokens, asked).verdict.message
    # A gate that could not look does not pass.
    elsewhere = replace(slow, threads=8)
    verdict = compare(measured, elsewhere, asked).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_WATCH")
    assert "with a different thread count: whether it is slower is not known" in verdict.message
    other = with_case(elsewhere, "decode-greedy", digest="0" * 64)
    assert compare(measured, other, asked).verdict.reason_id == "BENCH_DIGEST"


def test_the_matrix_shows_every_case_and_change(measured: Results) -> None:
    case = measured.cases["decode-greedy"]
    assert case.decode is not None
    grown = {**case.counters, "decode_calls": 2 * case.counters["decode_calls"]}
    changed = with_case(measured, "decode-greedy", ms=(2 * case.median_ms,), counters=grown)
    changed = with_case(changed, "chat-greedy", digest="0" * 64)
    cases = {name: found for name, found in changed.cases.items() if name != "sampled-wide"}
    hostile = "x|<b>`\x1b[31m"
    changed = replace(changed, cases={**cases, hostile: case}, failures={"sampled-wide": "no room"})
    text = matrix(compare(measured, changed), Bounds())
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert {name.replace("\\", "") for name in rows} == {"case", ":--", *measured.cases, "x|<b>` [31m"}
    assert rows["decode-greedy"] == (
        f"| decode-greedy | {case.median_ms:,.1f} → {2 * case.median_ms:,.1f} | +100.0 % "
        f"| {case.decode:,.0f} → {case.decode:,.0f} | +0.0 % | same | decode\\_calls +100.0 % | BENCH\\_COUNTER |"
    )
    assert " | other | same | BENCH\\_DIGEST |" in rows["chat-greedy"]
    assert " | gone | – | BENCH\\_VANISHED |" in rows["sampled-wide"]
    assert "## Benchmark: fail (BENCH\\_VANISHED)" in text
    assert "Limits: 3 % of time, 1 % of work. Times: not measured in pairs." in text


def synthetic(measured: Results, rng: random.Random, n: int, spread: float, slower: dict[str, float]) -> Pairs:
    """Pairs with log-normal noise, some of it from outside and shared, and now and then a disturbance."""
    base, current = {}, {}
    for name, case in measured.cases.items():
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(n):
            shared = 20 * rng.lognormvariate(0, 0.2)
            for side, factor in zip(times, (1.0, slower.get(name, 1.0)), strict=True):
                disturbed = rng.choice((1.0, 1.3)) if rng.random() < 0.05 else 1.0
                side.append(shared * factor * rng.lognormvariate(0, spread) * disturbed)
        base[name], current[name] = timed(case, times[0]), timed(case, times[1])
    return Pairs(replace(measured, cases=base), replace(measured, cases=current))


def confirmed(measured: Results, rng: random.Random, *how: Any) -> tuple[int, Pairs]:
    """As the command has it: pairs, and once more those of the suspects; and how many these are."""
    pairs = synthetic(measured, rng, *how)
    suspected = suspects(pairs)
    if suspected:
        cases = {name: case for name, case in measured.cases.items() if name in suspected}
        pairs = replace(pairs, again=synthetic(replace(measured, cases=cases), rng, *how))
    return len(suspected), pairs


@pytest.mark.parametrize("spread", [0.005, 0.03, 0.2])
def test_noise_is_no_slow_down(measured: Results, spread: float) -> None:
    rng = random.Random(f"noise {spread}")
    n_suspected = n_failed = 0
    for _ in range(200):
        suspected, pairs = confirmed(measured, rng, 25, spread, {})
        n_suspected += suspected > 0
        n_failed += compare_pairs(pairs).verdict.outcome is Outcome.FAIL
    assert n_failed == 0
    assert n_suspected <= 2  # before the second measurement


def test_a_little_noise_holds_and_much_cannot_tell(measured: Results) -> None:
    rng = random.Random(5)
    quiet = compare_pairs(synthetic(measured, rng, 60, 0.002, {}))
    assert {row.verdict.reason_id for row in quiet.rows} <= {"BENCH_PASSED", "BENCH_WATCH"}
    assert sum(row.verdict.reason_id == "BENCH_PASSED" for row in quiet.rows) >= len(measured.cases) // 2
    loud = compare_pairs(synthetic(measured, rng, 25, 0.3, {})).verdict
    assert (loud.outcome, loud.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_WATCH")


def test_a_clear_slow_down_fails_and_a_small_one_never_passes(measured: Results) -> None:
    rng = random.Random(6)
    for _ in range(20):
        suspected, pairs = confirmed(measured, rng, 25, 0.03, {"decode-greedy": 1.15})
        comparison = compare_pairs(pairs)
        assert (suspected, comparison.verdict.reason_id) == (1, "BENCH_SLOWER")
        assert comparison.verdict.outcome is Outcome.FAIL
        [row] = [row for row in comparison.rows if row.case == "decode-greedy"]
        assert row.times is not None
        assert 1.03 < row.times.lower < 1.15 < row.times.ratio * 1.05
        _, pairs = confirmed(measured, rng, 25, 0.03, {"decode-greedy": 1.06})
        assert compare_pairs(pairs).verdict.outcome is not Outcome.PASS


def test_what_is_not_confirmed_is_undecided(measured: Results) -> None:
    rng = random.Random(7)
    pairs = synthetic(measured, rng, 25, 0.02, {"decode-greedy": 1.2})
    cleared = replace(pairs, again=synthetic(measured, rng, 25, 0.02, {}))
    for found in (pairs, cleared):
        verdict = compare_pairs(found).verdict
        assert (verdict.outcome, verdict.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_WATCH")
    agreed = replace(pairs, again=synthetic(measured, rng, 25, 0.02, {"decode-greedy": 1.2}))
    assert compare_pairs(agreed).verdict.reason_id == "BENCH_SLOWER"


def test_few_pairs_never_fail(measured: Results) -> None:
    """Fewer than seven, or fewer than so many cases need: however large the difference, it is inconclusive."""
    rng = random.Random(8)
    for n in (1, 6, 9):
        pairs = synthetic(measured, rng, n, 0.001, {"decode-greedy": 3.0})
        assert suspects(pairs) == []
        assert compare_pairs(pairs).verdict.reason_id == "BENCH_WATCH"
    one = replace(measured, cases={"decode-greedy": measured.cases["decode-greedy"]})
    assert suspects(synthetic(one, rng, 7, 0.001, {"decode-greedy": 3.0})) == ["decode-greedy"]
    assert suspects(synthetic(one, rng, 6, 0.001, {"decode-greedy": 3.0})) == []
