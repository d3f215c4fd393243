"""What tests of benchmarks share: a pack of the bundled model, its results, and commands that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.bench import run
from flyball.bench.pack import Pack
from flyball.bench.results import Results
from flyball.cli import main


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
    return run.run(pack, flyball.demo_model_path(), 1, 1, lambda *_: None, most_runs=1, count=False)


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


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a command that could not tell."""

    def told(*words: str | Path) -> str:
        assert main(["bench", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("flyball: ")
        assert error.count("\n") == 1
        return error

    return told
