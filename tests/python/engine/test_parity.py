"""Accuracy: Flyball's logits are at most 1.1 times as far from exact arithmetic as llama.cpp's recorded ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import parity

RECORD = parity.load()


def test_every_recipe_is_recorded() -> None:
    assert [case.recipe for case in RECORD.cases] == list(parity.recipes())


@pytest.mark.parametrize("case", RECORD.cases, ids=lambda case: case.recipe.name)
def test_divergence_within_allowance(case: parity.Case, tmp_path: Path) -> None:
    path = parity.make_model(case, tmp_path)
    sequences = RECORD.sequences(case)
    adapter = case.recipe.adapter(path)
    truth = parity.reference(path, sequences, adapter)
    found = parity.measure(truth, sequences, parity.flyball_session(path, adapter).logits)
    assert found.positions == case.llama_cpp.positions
    divergence = case.divergence(found)
    assert divergence <= case.limit, f"KL {divergence:.3e}, llama.cpp's {case.divergence(case.llama_cpp):.3e}"
