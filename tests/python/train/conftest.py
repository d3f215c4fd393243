"""What the tests of training share: a small model with examples, and runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import flyball
from flyball.train.architecture import describe
from flyball.train.decoder import Decoder
from flyball.train.examples import Example
from flyball.train.recipe import Recipe
from flyball.train.run import Run
from flyball.train.weights import Weights
from tests.python.conftest import ModelFile

TEXTS = ("the fox", "a cold river", "in the hen house", "it is the end", "an old inn", "the other tree")


def decoder_of(path: Path | str, keep_bytes: int = 1 << 30, recompute: bool = False) -> Decoder:
    """A decoder of a file that Flyball can load."""
    torch.set_num_threads(1)
    weights = Weights(str(path), keep_bytes)
    with flyball.Model.load(path, vocab_only=True) as model:
        architecture = describe(model.metadata(1024), weights.optional("rope_freqs.weight"))
    return Decoder(weights, architecture, recompute)


def examples(n: int = 6) -> list[Example]:
    """Of plain text, so that a model without a chat template takes them."""
    return [
        Example.of(
            {
                "id": f"e{i}",
                "prompt": f"{text} {i}",
                "answer": "then " * (i + 1),
                "rejected": "or",
                "kind": "correction",
            },
            f"line {i + 1}",
        )
        for i, text in enumerate(TEXTS[:n])
    ]


RECIPE = {"rank": 4, "rate": 0.01, "steps": 4, "batch": 3, "replay": 0, "longest": 64}
MakeRun = Callable[..., Run]


@pytest.fixture(scope="module")
def tiny(model_file: ModelFile) -> Iterator[flyball.Model]:
    """A random model of two layers."""
    with flyball.Model.load(model_file("llama", "Q8_0"), context=64, threads=1) as model:
        yield model


@pytest.fixture
def make_run(tiny: flyball.Model, tmp_path: Path) -> MakeRun:
    """make_run(rank=2, ...) prepares a run on the random model; `out`, `data` and the like go to Run itself."""

    def make(**changes: Any) -> Run:
        recipe = Recipe(**{**RECIPE, **{name: changes.pop(name) for name in list(changes) if hasattr(Recipe, name)}})
        given = {"data": examples(), "held_out": [], "out": tmp_path / "adapters", **changes}
        return Run(tiny, given.pop("data"), given.pop("held_out"), recipe, given.pop("out"), **given)

    return make


def train(run: Run) -> Path:
    """All steps; the adapter's folder."""
    assert run.train(lambda step, loss: None, lambda: False)
    return run.finish().folder
