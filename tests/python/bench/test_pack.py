"""Benchmark packs: the same gives the same bytes, and what is broken is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.bench import run
from flyball.bench.fields import write
from flyball.bench.pack import REPEATS, Build, Pack, bundled
from flyball.bench.results import Pairs, Results
from flyball.bench.worker import Runner
from flyball.cli import main
from flyball.reliability.context import PROFILES

Capture = pytest.CaptureFixture[str]
Refused = Callable[..., str]
FROZEN = "60ea61f46c9c85b6c6d6a7788ae1f4e439bed4ede24ad003945cb4cd2668880a"
N_CASES = 11


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


def test_a_folder_gets_inputs_and_manifest(tmp_path: Path, pack: Pack, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert main(["bench", "pack", "--seed", "7", "-o", f"{folder}/"]) == 0
    assert "one/benchmark-pack.json: " in capsys.readouterr().out
    names = ("benchmark-input.jsonl", "benchmark-manifest.md", "benchmark-pack.json")
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == list(names)
    for name in names:  # without time and place
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    made = Pack.read(tmp_path / "one" / "benchmark-pack.json")
    rows = [json.loads(line) for line in (tmp_path / "one" / "benchmark-input.jsonl").read_text().splitlines()]
    assert [row["case_id"] for row in rows] == [case.id for case in made.corpus.cases]
    assert [row["prompt"] for row in rows] == [case.prompt for case in made.corpus.cases]
    assert [row["seed"] for row in rows] == [(case.sampling["seed"] or 0) + 7 for case in made.corpus.cases]
    manifest = (tmp_path / "one" / "benchmark-manifest.md").read_text()
    for part in (made.sha256, made.corpus.sha256, made.fingerprint, made.build.commit, made.build.extension):
        assert part in manifest
    assert all(f"\n| {case.id} | " in manifest for case in made.corpus.cases)


def test_profiles_are_those_of_reliability_runs() -> None:
    assert set(PROFILES) == set(REPEATS)


def test_a_seed_draws_other_answers(measured: Results, pack: Pack) -> None:
    runner = Runner.open(flyball.demo_model_path(), pack.corpus.context, 1)
    digests = {case.id: runner.measure(case, 1).digest for case in pack.corpus.cases if "sampled" in case.id}
    assert all(digests[name] != measured.cases[name].digest for name in digests)


def test_a_model_with_little_room_runs_every_case(model_file: Callable[..., Path], pack: Pack) -> None:
    with flyball.Model.load(model_file(), vocab_only=True) as model:
        other = Pack.make(model, "quick")
    found = run.run(other, model_file(), 1, 1, lambda *_: None, most_runs=1, count=False)
    assert found.failures == {}
    assert len(found.cases) == N_CASES


def test_counters_are_exact(measured: Results, pack: Pack) -> None:
    """Whatever the threads, and whether guesses are checked."""
    again = run.run(pack, flyball.demo_model_path(), 2, 1, lambda *_: None, most_runs=1, count=False)
    assert again.failures == {}
    for name, case in measured.cases.items():
        assert (case.digest, case.counters) == (again.cases[name].digest, again.cases[name].counters)
    guessing = measured.cases["guesses-greedy"].counters
    assert guessing["drafted_tokens"] > 0
    assert guessing["decode_calls"] < guessing["decode_tokens"] / 4


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema=2), "schema is 2, this version of flyball reads 1"),
        (lambda d: d.update(kind="results"), "is 'results', must be pack"),
        (lambda d: d.pop("seed"), "seed is missing"),
        (lambda d: d.update(seed=-1), "seed is -1, must be from 0"),
        (lambda d: d.update(repeat=True), "repeat is true, must be a whole number"),
        (lambda d: d.update(more=1), "'more' is unknown"),
        (lambda d: d.update(corpus=[]), "corpus: is an array, must be an object"),
        (lambda d: d["corpus"].update(cases=[]), "cases is empty"),
        (lambda d: d["corpus"]["cases"].append(d["corpus"]["cases"][0]), "has the id 'chat-greedy' twice"),
        (lambda d: d["corpus"]["cases"][0].update(max_tokens=25), "corpus was changed: its SHA-256 is now"),
        (lambda d: d["corpus"]["cases"][0].update(max_tokens=0), "cases[0]: max_tokens is 0"),
        (lambda d: d["corpus"]["cases"][0].update(speculate="auto"), "speculate is 'auto', must be off or always"),
        (lambda d: d["corpus"]["cases"][0].update(prompt="\ud800"), "prompt has a lone surrogate"),
        (
            lambda d: d["corpus"]["cases"][0]["sampling"].update(temperature=math.nan),
            "has NaN, which is not a JSON number",
        ),
        (lambda d: d["corpus"]["cases"][0]["sampling"].update(top_k="x"), "sampling: top_k is 'x'"),
        (lambda d: d["model"].update(fingerprint="0" * 64), "000000000000...; --model names its file"),
    ],
)
def test_broken_packs_are_refused(
    tmp_path: Path, refused: Refused, pack: Pack, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    document = json.loads(json.dumps(pack.as_dict()))
    change(document)
    path = tmp_path / "pack.json"
    path.write_text(json.dumps(document))
    error = refused("run", path, "-o", tmp_path / "out.json")
    assert told in error
    assert ("flyball-demo.gguf" if "--model" in told else "pack.json") in error
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_pack_is_refused(tmp_path: Path, refused: Refused, raw: bytes) -> None:
    path = tmp_path / "pack.json"
    path.write_bytes(raw)
    assert "pack.json" in refused("run", path, "-o", tmp_path / "out.json")


def test_wrong_use_is_refused(
    tmp_path: Path, refused: Refused, pack: Pack, measured: Results, model_file: Callable[..., Path]
) -> None:
    path, single, paired = tmp_path / "pack.json", tmp_path / "single.json", tmp_path / "paired.json"
    write(path, pack.as_dict())
    write(single, measured.as_dict())
    write(paired, Pairs(measured, measured).as_dict())
    out = ("-o", tmp_path / "out.json")
    assert "the pack was made with 'Flyball Demo'" in refused("run", path, "--model", model_file(), *out)
    assert "--repeat: is 0" in refused("run", path, "--repeat", "0", *out)
    assert "--threads: is 0" in refused("run", path, "--threads", "0", *out)
    assert "none.json: does not exist" in refused("run", tmp_path / "none.json", *out)
    assert "gone: does not exist" in refused("run", path, "-o", tmp_path / "gone" / "out.json")
    assert "/nowhere: does not exist" in refused("run", path, "--against", "/nowhere", *out)
    assert "--profile: is 'x'" in refused("pack", "--profile", "x", *out)
    assert "--seed: is -1" in refused("pack", "--seed", "-1", *out)
    assert "give the other build's results" in refused("compare", single)
    assert "compare it alone" in refused("compare", single, paired)
    assert "compare it alone" in refused("compare", paired, single)
    assert "--threshold: is nan" in refused("compare", single, single, "--threshold", "nan")
    assert "--threshold: is 0" in refused("compare", single, single, "--threshold", "0")
    assert "give one" in refused("compare", single, single, "--json", "--markdown")
    other = tmp_path / "other.json"
    write(other, replace(measured, corpus="0" * 64).as_dict())
    assert f"other.json: is not comparable with {single}: another corpus" in refused("compare", single, other)
    write(other, Pairs(measured, replace(measured, fingerprint="0" * 64)).as_dict())
    assert "other.json: has pairs that are not comparable: another model" in refused("compare", other)
