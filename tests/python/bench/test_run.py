"""Running packs: this build alone, or in turn with another one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import flyball
from flyball.bench import process, run
from flyball.bench.compare import compare_pairs
from flyball.bench.fields import write
from flyball.bench.pack import Build, Pack
from flyball.bench.results import Pairs, Results, read
from flyball.cli import main
from flyball.evidence.gates import Outcome

Capture = pytest.CaptureFixture[str]
Refused = Callable[..., str]


def silent(*_: object) -> None:
    """No progress."""


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
    assert (code, said["verdict"]["reason_id"]) in ((0, "BENCH_PASSED"), (2, "BENCH_WATCH"))
    assert said["cases"][0]["digest"]["base"] == said["cases"][0]["digest"]["current"]
    assert main(["bench", "compare", *map(str, files)]) == code
    assert "guesses-greedy" in capsys.readouterr().out
    assert main(["bench", "compare", *map(str, files), "--markdown", "--threshold", "900", "--fail-on-regression"]) == 0
    assert capsys.readouterr().out.startswith("## Benchmark: pass (BENCH\\_PASSED)\n\n")


def test_the_same_build_against_itself_does_not_fail(tmp_path: Path, capsys: Capture, pack: Pack) -> None:
    """Two processes of this Python, with every case in pairs. What may be said: holds, or could not tell."""
    path, out = tmp_path / "pack.json", tmp_path / "pairs.json"
    write(path, pack.as_dict())
    assert main(["bench", "run", str(path), "--against", sys.executable, "--repeat", "1", "-o", str(out)]) == 0
    found = read(out)
    assert isinstance(found, Pairs)
    assert found.base.build == found.current.build == Build.here()
    assert len(found.current.cases) == len(pack.corpus.cases)
    assert main(["bench", "compare", str(out)]) == 2  # one pair tells nothing
    assert "BENCH_WATCH" in capsys.readouterr().out


@pytest.fixture
def python_with(tmp_path: Path) -> Callable[[str], str]:
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
    assert "measuring again" in capsys.readouterr().err
    found = read(out)
    assert isinstance(found, Pairs)
    assert found.again is not None
    assert main(["bench", "compare", str(out)]) == 1
    assert "[BENCH_SLOWER] guesses-greedy takes" in capsys.readouterr().out
    once = compare_pairs(replace(found, again=None)).verdict
    assert (once.outcome, once.reason_id) == (Outcome.INCONCLUSIVE, "BENCH_WATCH")


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
    assert found.base.failures == {"guesses-greedy": "gives another answer in a repeated run"}


def test_a_python_without_flyball_is_named(
    tmp_path: Path, refused: Refused, small_pack: Pack, python_with: Callable[[str], str]
) -> None:
    path, script, out = tmp_path / "pack.json", tmp_path / "bare", tmp_path / "out.json"
    write(path, small_pack.as_dict())
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    assert "bare: has no flyball.bench.worker" in refused("run", path, "--against", script, "-o", out)
    mute = python_with("print('hello')\n")
    assert "python: is not valid JSON" in refused("run", path, "--against", mute, "-o", out)


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
