"""Benchmark packs: the same gives the same bytes, what is broken is refused, and what a comparison says."""

from __future__ import annotations

import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.bench import process, run
from flyball.bench.compare import Bounds, compare, compare_pairs, suspects
from flyball.bench.fields import write
from flyball.bench.pack import REPEATS, Build, Pack, bundled
from flyball.bench.results import CaseResult, Pairs, Results, read
from flyball.bench.worker import COUNTERS, Runner
from flyball.cli import main
from flyball.evidence.gates import Outcome
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record
from flyball.reliability.stages import benchmark

Capture = pytest.CaptureFixture[str]
FROZEN = "60ea61f46c9c85b6c6d6a7788ae1f4e439bed4ede24ad003945cb4cd2668880a"
N_CASES = 11


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def pack() -> Pack:
    """Of the bundled model."""
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        return Pack.make(model, "quick")


@pytest.fixture(scope="module")
def small_pack(pack: Pack) -> Pack:
    """Of one case, the quickest."""
    return replace(pack, corpus=pack.corpus.pick(["guesses-greedy"]))


@pytest.fixture(scope="module")
def measured(pack: Pack) -> Results:
    """One sample of every case."""
    return run.run(pack, flyball.demo_model_path(), 1, 1, silent, most_runs=1, count=False)


@pytest.fixture
def broken(tmp_path: Path, measured: Results) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """A file of results that something was done to."""

    def written(change: Callable[[dict[str, Any]], object]) -> Path:
        document = json.loads(json.dumps(measured.as_dict()))
        change(document)
        path = tmp_path / "broken.json"
        path.write_text(json.dumps(document))
        return path

    return written


def refused(capsys: Capture, *words: str | Path) -> str:
    """The one line of a command that could not tell."""
    assert main(["bench", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("flyball: ")
    assert error.count("\n") == 1
    return error


# ---------------------------------------------------------------- the pack


def test_the_corpus_is_frozen() -> None:
    """Its ids name answers and costs of earlier builds: what changes here is a new case, under a new id."""
    corpus = bundled()
    assert corpus.sha256 == FROZEN
    assert len(corpus.cases) == N_CASES
    assert {case.category for case in corpus.cases} == {"chat", "prefill", "decode", "sampled", "guesses"}


def test_the_same_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other, seeded = (tmp_path / name for name in ("one.json", "other.json", "seeded.json"))
    for path, words in ((one, []), (other, []), (seeded, ["--seed", "7", "--profile", "nightly"])):
        assert main(["bench", "pack", *words, "-o", str(path)]) == 0
    assert one.read_bytes() == other.read_bytes() != seeded.read_bytes()
    found = Pack.read(seeded)
    assert (found.seed, found.repeat, found.corpus.sha256) == (7, REPEATS["nightly"], FROZEN)
    assert found.build == Build.here()
    assert len(found.build.extension) == 64
    write(tmp_path / "again.json", found.as_dict())
    assert (tmp_path / "again.json").read_bytes() == seeded.read_bytes()


def test_profiles_are_those_of_reliability_runs() -> None:
    assert set(PROFILES) == set(REPEATS)


def test_a_seed_draws_other_answers(measured: Results, pack: Pack) -> None:
    runner = Runner.open(flyball.demo_model_path(), pack.corpus.context, 1)
    digests = {case.id: runner.measure(case, 1).digest for case in pack.corpus.cases if "sampled" in case.id}
    assert all(digests[name] != measured.cases[name].digest for name in digests)


def test_a_model_with_little_room_runs_every_case(model_file: Callable[..., Path], pack: Pack) -> None:
    with flyball.Model.load(model_file(), vocab_only=True) as model:
        other = Pack.make(model, "quick")
    found = run.run(other, model_file(), 1, 1, silent, most_runs=1, count=False)
    assert found.failures == {}
    assert len(found.cases) == N_CASES


def test_counters_are_exact(measured: Results, pack: Pack) -> None:
    """Whatever the threads, and whether guesses are checked."""
    again = run.run(pack, flyball.demo_model_path(), 2, 1, silent, most_runs=1, count=False)
    assert again.failures == {}
    for name, case in measured.cases.items():
        assert (case.digest, case.counters) == (again.cases[name].digest, again.cases[name].counters)
    guessing = measured.cases["guesses-greedy"].counters
    assert guessing["drafted_tokens"] > 0
    assert guessing["decode_calls"] < guessing["decode_tokens"] / 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema=2), "schema is 2, this version of flyball knows 1"),
        (lambda d: d.update(kind="results"), "is 'results', must be pack"),
        (lambda d: d.pop("seed"), "seed is missing"),
        (lambda d: d.update(seed=-1), "seed is -1, must be from 0"),
        (lambda d: d.update(repeat=True), "repeat is true, must be a whole number"),
        (lambda d: d.update(more=1), "'more' is unknown"),
        (lambda d: d.update(corpus=[]), "corpus: is an array, must be an object"),
        (lambda d: d["corpus"].update(cases=[]), "cases is empty"),
        (lambda d: d["corpus"]["cases"].append(d["corpus"]["cases"][0]), "has 'chat-greedy' twice"),
        (lambda d: d["corpus"]["cases"][0].update(max_tokens=25), "not its own: it was changed"),
        (lambda d: d["corpus"]["cases"][0].update(max_tokens=0), "cases[0]: max_tokens is 0"),
        (lambda d: d["corpus"]["cases"][0].update(speculate="auto"), "speculate is 'auto', must be off or always"),
        (lambda d: d["corpus"]["cases"][0].update(prompt="\ud800"), "prompt has no UTF-8 form"),
        (lambda d: d["corpus"]["cases"][0]["sampling"].update(temperature=math.nan), "has NaN, which is no number"),
        (lambda d: d["corpus"]["cases"][0]["sampling"].update(top_k="x"), "sampling: top_k is 'x'"),
        (lambda d: d["model"].update(fingerprint="0" * 64), "000000000000...; --model names its file"),
    ],
)
def test_broken_packs_are_refused(
    tmp_path: Path, capsys: Capture, pack: Pack, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    document = json.loads(json.dumps(pack.as_dict()))
    change(document)
    path = tmp_path / "pack.json"
    path.write_text(json.dumps(document))
    error = refused(capsys, "run", path, "-o", tmp_path / "out.json")
    assert told in error
    assert ("flyball-demo.gguf" if "--model" in told else "pack.json") in error
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_pack_is_refused(tmp_path: Path, capsys: Capture, raw: bytes) -> None:
    path = tmp_path / "pack.json"
    path.write_bytes(raw)
    assert "pack.json" in refused(capsys, "run", path, "-o", tmp_path / "out.json")


def test_wrong_use_is_refused(
    tmp_path: Path, capsys: Capture, pack: Pack, measured: Results, model_file: Callable[..., Path]
) -> None:
    path, single, paired = tmp_path / "pack.json", tmp_path / "single.json", tmp_path / "paired.json"
    write(path, pack.as_dict())
    write(single, measured.as_dict())
    write(paired, Pairs(measured, measured).as_dict())
    out = ("-o", tmp_path / "out.json")
    assert "the pack was made with 'Flyball Demo'" in refused(capsys, "run", path, "--model", model_file(), *out)
    assert "--repeat: is 0" in refused(capsys, "run", path, "--repeat", "0", *out)
    assert "--threads: is 0" in refused(capsys, "run", path, "--threads", "0", *out)
    assert "none.json: does not exist" in refused(capsys, "run", tmp_path / "none.json", *out)
    assert "gone: does not exist" in refused(capsys, "run", path, "-o", tmp_path / "gone" / "out.json")
    assert "/nowhere: does not exist" in refused(capsys, "run", path, "--against", "/nowhere", *out)
    assert "--profile: is 'x'" in refused(capsys, "pack", "--profile", "x", *out)
    assert "--seed: is -1" in refused(capsys, "pack", "--seed", "-1", *out)
    assert "give the other's results" in refused(capsys, "compare", single)
    assert "compare it alone" in refused(capsys, "compare", single, paired)
    assert "compare it alone" in refused(capsys, "compare", paired, single)


# ---------------------------------------------------------------- running


def test_run_and_compare(tmp_path: Path, capsys: Capture, small_pack: Pack) -> None:
    path = tmp_path / "pack.json"
    write(path, small_pack.as_dict())
    files = [tmp_path / "base.json", tmp_path / "current.json"]
    for file in files:
        assert main(["bench", "run", str(path), "--repeat", "2", "-o", str(file)]) == 0
    found = read(files[0])
    assert isinstance(found, Results)
    assert len(found.cases["guesses-greedy"].ms) == 2
    capsys.readouterr()
    code = main(["bench", "compare", *map(str, files), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["verdict"]["reason_id"]) in ((0, "BENCH_HOLDS"), (2, "BENCH_WATCH"))
    assert said["cases"][0]["digest"]["base"] == said["cases"][0]["digest"]["current"]
    assert main(["bench", "compare", *map(str, files)]) == code
    assert "guesses-greedy" in capsys.readouterr().out


def test_the_same_build_against_itself_does_not_fail(tmp_path: Path, capsys: Capture, pack: Pack) -> None:
    """Two processes of this Python, with every case in pairs. What may be said: holds, or could not tell."""
    path, out = tmp_path / "pack.json", tmp_path / "pairs.json"
    write(path, pack.as_dict())
    assert main(["bench", "run", str(path), "--against", sys.executable, "--repeat", "1", "-o", str(out)]) == 0
    found = read(out)
    assert isinstance(found, Pairs)
    assert found.base.build == found.current.build == Build.here()
    assert len(found.current.cases) == N_CASES
    assert main(["bench", "compare", str(out)]) == 2  # one pair tells nothing
    assert "BENCH_WATCH" in capsys.readouterr().out


@pytest.fixture
def python_with(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """A Python whose worker is not as it was."""

    def made(source: str) -> str:
        program, script = tmp_path / "worker.py", tmp_path / "python"
        program.write_text("from flyball.bench import worker\nmeasure = worker.Runner.measure\n" + source)
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}"\n')
        script.chmod(0o755)
        return str(script)

    return made


def test_a_slower_build_fails_once_it_is_confirmed(
    tmp_path: Path, capsys: Capture, small_pack: Pack, python_with: Callable[[str], str]
) -> None:
    """The other build says a twentieth of its time, which no noise hides."""
    faster = python_with(
        "from dataclasses import replace\n"
        "def divided(*args):\n    sample = measure(*args)\n    return replace(sample, ms=sample.ms / 20)\n"
        "worker.Runner.measure = divided\nworker.serve()\n"
    )
    path, out = tmp_path / "pack.json", tmp_path / "pairs.json"
    write(path, small_pack.as_dict())
    assert main(["bench", "run", str(path), "--against", faster, "--repeat", "7", "-o", str(out)]) == 0
    assert "once more" in capsys.readouterr().err
    found = read(out)
    assert isinstance(found, Pairs)
    assert found.again is not None
    assert main(["bench", "compare", str(out)]) == 1
    assert "[BENCH_SLOWER] guesses-greedy takes" in capsys.readouterr().out
    once = compare_pairs(replace(found, again=None)).verdict
    assert (once.outcome, once.reason_id) == (Outcome.UNDECIDED, "BENCH_WATCH")


def test_a_build_that_dies_loses_the_case(pack: Pack, python_with: Callable[[str], str]) -> None:
    dies = python_with(
        "import os, signal\n"
        "def die(self, case, seed):\n"
        "    if case.id == 'sampled-wide':\n        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return measure(self, case, seed)\n"
        "worker.Runner.measure = die\nworker.serve()\n"
    )
    two = replace(pack, corpus=pack.corpus.pick(["guesses-greedy", "sampled-wide"]))
    found = run.against(two, dies, flyball.demo_model_path(), 1, 3, silent)
    assert list(found.base.failures) == ["sampled-wide"]
    assert "signal 11" in found.base.failures["sampled-wide"]
    assert len(found.base.cases["guesses-greedy"].ms) == len(found.current.cases["guesses-greedy"].ms) >= 2
    turned = compare_pairs(Pairs(found.current, found.base)).verdict  # as if the newer build had died
    assert turned.reason_id == "BENCH_VANISHED"
    assert "signal 11" in turned.message


def test_an_answer_that_varies_is_no_result(small_pack: Pack, python_with: Callable[[str], str]) -> None:
    varies = python_with(
        "from dataclasses import replace\nimport itertools\ncount = itertools.count()\n"
        "worker.Runner.measure = lambda *args: replace(measure(*args), digest=str(next(count)))\nworker.serve()\n"
    )
    found = run.against(small_pack, varies, flyball.demo_model_path(), 1, 1, silent)
    assert found.base.failures == {"guesses-greedy": "gives another answer when it is run again"}


def test_a_python_without_flyball_is_named(
    tmp_path: Path, capsys: Capture, small_pack: Pack, python_with: Callable[[str], str]
) -> None:
    path, script, out = tmp_path / "pack.json", tmp_path / "bare", tmp_path / "out.json"
    write(path, small_pack.as_dict())
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    assert "bare: has no flyball.bench.worker" in refused(capsys, "run", path, "--against", script, "-o", out)
    mute = python_with("print('hello')\n")
    assert "python: is no JSON" in refused(capsys, "run", path, "--against", mute, "-o", out)


def test_instructions_are_counted_where_perf_can(
    tmp_path: Path, small_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for perf, since few virtual machines count: a thousand for the start, 500 for each line."""
    perf = tmp_path / "perf"
    counts = r'f"# started\n{1000 + 500 * n},,instructions:u,1,100\n"'
    perf.write_text(
        f"#!{sys.executable}\nimport sys\nn = sum(1 for _ in sys.stdin)\n"
        f'open(sys.argv[sys.argv.index("-o") + 1], "w").write({counts})\n'
    )
    perf.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    process._perf_counts.cache_clear()
    try:
        found = process.instructions(None, small_pack, flyball.demo_model_path(), silent)
        assert found == {"guesses-greedy": 500}
        perf.write_text('#!/bin/sh\necho "<not supported>,,instructions:u" > "$7"\n')
        process._perf_counts.cache_clear()
        assert process.instructions(None, small_pack, flyball.demo_model_path(), silent) == {}
    finally:
        process._perf_counts.cache_clear()


# ---------------------------------------------------------------- comparing


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
    capsys: Capture,
    measured: Results,
    change: Callable[[dict[str, Any]], object],
    told: str,
) -> None:
    base = tmp_path / "base.json"
    write(base, measured.as_dict())
    error = refused(capsys, "compare", base, broken(change))
    assert "broken.json" in error
    assert told in error


def test_pairs_that_are_none_are_refused(tmp_path: Path, capsys: Capture, measured: Results) -> None:
    path = tmp_path / "pairs.json"
    fewer = replace(measured, cases={name: timed(case, [1.0, 2.0]) for name, case in measured.cases.items()})
    write(path, Pairs(measured, fewer).as_dict())
    assert "they are no pairs" in refused(capsys, "compare", path)


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
    assert verdict.message == "decode-greedy is gone"
    assert compare(measured, replace(fewer, failures={"decode-greedy": "no room"})).verdict.message.endswith("no room")
    more = compare(fewer, measured)
    assert more.verdict.reason_id == "BENCH_HOLDS"
    assert [row.verdict.reason_id for row in more.rows if row.case == "decode-greedy"] == ["BENCH_LEARNING"]
    assert compare(replace(measured, cases={}), measured).verdict.reason_id == "BENCH_LEARNING"


def test_another_answer_is_told_apart_from_another_speed(measured: Results) -> None:
    slow = measured.cases["decode-greedy"].median_ms * 4
    changed = with_case(measured, "decode-greedy", digest="0" * 64, ms=(slow,))
    comparison = compare(measured, changed)
    assert (comparison.verdict.outcome, comparison.verdict.reason_id) == (Outcome.FAIL, "BENCH_DIGEST")
    assert {row.verdict.reason_id for row in comparison.rows if row.case != "decode-greedy"} == {"BENCH_HOLDS"}
    slower = compare(measured, with_case(measured, "decode-greedy", ms=(slow,))).verdict
    assert (slower.outcome, slower.reason_id) == (Outcome.UNDECIDED, "BENCH_WATCH")  # they are no pairs
    assert "4.000 x as long" in slower.message


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_counter_that_grew_fails(measured: Results, counter: str) -> None:
    case = measured.cases["guesses-greedy"]
    grown = {**case.counters, counter: case.counters[counter] + 1 + case.counters[counter] // 50}
    verdict = compare(measured, with_case(measured, "guesses-greedy", counters=grown)).verdict
    assert (verdict.outcome, verdict.reason_id) == (Outcome.FAIL, "BENCH_COUNTER")
    assert counter in verdict.message
    fewer = {**case.counters, counter: max(0, case.counters[counter] - 1)}
    assert compare(measured, with_case(measured, "guesses-greedy", counters=fewer)).verdict.reason_id == "BENCH_HOLDS"
    wide = compare(measured, with_case(measured, "guesses-greedy", counters=grown), Bounds(counters=2.0))
    assert wide.verdict.reason_id == "BENCH_HOLDS"


def test_instructions_count_on_the_same_machine(measured: Results) -> None:
    before = with_case(measured, "decode-greedy", instructions=1_000_000)
    for count, reason in ((1_009_000, "BENCH_HOLDS"), (1_020_000, "BENCH_COUNTER"), (None, "BENCH_HOLDS")):
        after = with_case(measured, "decode-greedy", instructions=count)
        assert compare(before, after).verdict.reason_id == reason
        assert compare(before, replace(after, isa="scalar")).verdict.reason_id == "BENCH_HOLDS"


def test_another_machine_compares_what_is_exact(measured: Results) -> None:
    slow = with_case(measured, "decode-greedy", ms=(9e9,))
    for elsewhere in (
        replace(slow, machine={"name": "another", "n_processors": 1, "digest": "another"}),
        replace(slow, threads=8),
    ):
        verdict = compare(measured, elsewhere).verdict
        assert verdict.reason_id == "BENCH_HOLDS"
        assert "times measured" in verdict.message
        other = with_case(elsewhere, "decode-greedy", digest="0" * 64)
        assert compare(measured, other).verdict.reason_id == "BENCH_DIGEST"
    for name, value in (("fingerprint", "0" * 64), ("seed", 1)):
        with pytest.raises(flyball.InvalidArgument, match=name):
            compare(measured, replace(measured, **{name: value}))


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
    assert {row.verdict.reason_id for row in quiet.rows} <= {"BENCH_HOLDS", "BENCH_WATCH"}
    assert sum(row.verdict.reason_id == "BENCH_HOLDS" for row in quiet.rows) >= N_CASES // 2
    loud = compare_pairs(synthetic(measured, rng, 25, 0.3, {})).verdict
    assert (loud.outcome, loud.reason_id) == (Outcome.UNDECIDED, "BENCH_WATCH")


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
        assert (verdict.outcome, verdict.reason_id) == (Outcome.UNDECIDED, "BENCH_WATCH")
    agreed = replace(pairs, again=synthetic(measured, rng, 25, 0.02, {"decode-greedy": 1.2}))
    assert compare_pairs(agreed).verdict.reason_id == "BENCH_SLOWER"


def test_few_pairs_never_fail(measured: Results) -> None:
    """Fewer than seven, or fewer than so many cases need: however large the difference, it is undecided."""
    rng = random.Random(8)
    for n in (1, 6, 9):
        pairs = synthetic(measured, rng, n, 0.001, {"decode-greedy": 3.0})
        assert suspects(pairs) == []
        assert compare_pairs(pairs).verdict.reason_id == "BENCH_WATCH"
    one = replace(measured, cases={"decode-greedy": measured.cases["decode-greedy"]})
    assert suspects(synthetic(one, rng, 7, 0.001, {"decode-greedy": 3.0})) == ["decode-greedy"]
    assert suspects(synthetic(one, rng, 6, 0.001, {"decode-greedy": 3.0})) == []


# ---------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A context with one earlier run."""
    folder = tmp_path_factory.mktemp("stage")
    context = Context("one", folder, folder, PROFILES["quick"], target="qemu")
    first = benchmark.run(context)
    assert (first.verdict.outcome, first.verdict.reason_id) == (Outcome.UNDECIDED, "BENCH_LEARNING")
    context.history = [Record("one", 0.0, stages={"benchmark": first}), Record("empty", 1.0)]
    return context


def with_values(context: Context, change: Callable[[dict[str, Any]], object]) -> Context:
    """An earlier run that left something else."""
    record = Record.from_dict(json.loads(json.dumps(context.history[0].as_dict())))
    change(record.values("benchmark"))
    return replace(context, history=[*context.history, record])


def test_the_stage_holds_against_the_newest_run(stage: Context) -> None:
    result = benchmark.run(stage)
    assert (result.stage, result.verdict.reason_id) == ("benchmark", "BENCH_HOLDS")
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
        (lambda v: v["cases"]["decode-greedy"].update(ms=0.001), "BENCH_HOLDS"),
        (lambda v: v["cases"]["decode-greedy"].update(ms="x"), "BENCH_LEARNING"),
        (lambda v: v["cases"]["decode-greedy"].pop("counters"), "BENCH_LEARNING"),
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
    assert verdict.reason_id == "BENCH_HOLDS"
    assert {"name": "bench_counters", "value": 2.0, "source": "limits.toml"} in verdict.evidence["limits"]
