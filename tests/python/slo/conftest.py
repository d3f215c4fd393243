"""What the tests of service levels share: a folder with one real run of all scenarios, and runs made of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.slo import record
from flyball.slo.run import Measured, measure
from flyball.slo.scenarios import SCENARIOS

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def measured() -> list[Measured]:
    """One iteration of every scenario with the bundled model."""
    with flyball.Model.load(flyball.demo_model_path(), threads=1, prefix_cache_mb=0) as model:
        return [measure(model, scenario, 1, 0, lambda *_: None) for scenario in SCENARIOS.values()]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, measured: list[Measured], demo: flyball.Model) -> Path:
    """The folder of that run."""
    folder = tmp_path_factory.mktemp("recorded")
    record.write(folder, demo, measured, 1, 0, 1_000_000.0)
    return folder


@pytest.fixture
def make_run(tmp_path: Path, measured: list[Measured], demo: flyball.Model) -> MakeRun:
    """make_run(time, {"short-question": [ms, ...]}) writes a run whose latencies are these; gives its file."""

    def made(time: float, ms: dict[str, Sequence[float]], **more: Any) -> Path:
        found = []
        for one in measured:
            if one.scenario.name in ms:
                first = replace(one.samples[0], peak_memory_mb=50.0, waited_ms=0.0, reference_ms=1.0)
                samples = [replace(first, ms=x, first_token_ms=x / 2) for x in ms[one.scenario.name]]
                found.append(Measured(one.scenario, samples, one.answers, {"inflation": 1.0}))
        path, document = record.write(tmp_path, demo, found, 1, 0, time)
        path.write_text(json.dumps(document | more))
        return path

    return made
