"""Accuracy: Flyball's logits are at most 1.1 times as far from exact arithmetic as llama.cpp's recorded ones.

`make test` computes each architecture in one of its types, in turn, and llama and the bundled model in all; with
FLYBALL_PARITY=all, every recorded case.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.golden import parity
from tests.reference.variants import VARIANTS

RECORD = parity.load()


def sample() -> list[parity.Case]:
    """The cases of a run."""
    if os.environ.get("FLYBALL_PARITY") == "all":
        return list(RECORD.cases)
    archs = list(VARIANTS)
    return [
        case
        for case in RECORD.cases
        if case.recipe.kind != "random"
        or case.recipe.arch == "llama"
        or case.recipe.wtype == ("F16", "Q8_0", "Q4_K")[archs.index(case.recipe.arch) % 3]
    ]


CASES = sample()


def test_every_recipe_is_recorded() -> None:
    assert [case.recipe for case in RECORD.cases] == list(parity.recipes())


def test_the_sample_has_every_architecture_and_type() -> None:
    assert {case.recipe.arch for case in CASES} == {case.recipe.arch for case in RECORD.cases}
    assert {case.recipe.wtype for case in CASES} == {case.recipe.wtype for case in RECORD.cases}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.recipe.name)
def test_divergence_within_allowance(case: parity.Case, tmp_path: Path) -> None:
    path = parity.make_model(case, tmp_path)
    sequences = RECORD.sequences(case)
    adapter = case.recipe.adapter(path)
    truth = parity.reference(path, sequences, adapter)
    found = parity.measure(truth, sequences, parity.flyball_session(path, adapter).logits)
    assert found.positions == case.llama_cpp.positions
    divergence = case.divergence(found)
    assert divergence <= case.limit, f"KL {divergence:.3e}, llama.cpp's {case.divergence(case.llama_cpp):.3e}"
