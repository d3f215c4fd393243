"""Gemma 3n: streams of the residual, a branch of low rank, sparse gates, caches that the last layers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from tests.reference import gguf_file as gf
from tests.reference.forward import logits as reference_logits
from tests.reference.models import write_model

NARROW: dict[str, Any] = {
    "n_embd": 64,
    "n_embd_per_layer": 32,
    "n_ff": 96,
    "n_head": 2,
    "n_head_kv": 1,
    "head_dim": 32,
    "n_vocab": 400,
}
IDS = [(37 * i * i + 11 * i + 5) % 400 for i in range(90)]  # beyond the window


def distance(path: Path) -> float:
    with flyball.Model.load(path, context=128, cache_type="f32") as model:
        found = model.logits(IDS)
    return float(np.abs(found - reference_logits(path, IDS)).max())


@pytest.mark.parametrize("n_layer", [1, 5, 23])
def test_logits_are_the_reference_s(n_layer: int, tmp_path: Path) -> None:
    assert distance(write_model(tmp_path / "m.gguf", "gemma3n", "F32", n_layer=n_layer, **NARROW).path) < 0.01


def test_gates_are_as_sparse_as_the_file_says(tmp_path: Path) -> None:
    scales = {"gemma3n.activation_sparsity_scale": gf.f32s([-1.0, float("-inf"), 0.0, 2.0])}
    path = write_model(tmp_path / "m.gguf", "gemma3n", "F32", n_layer=4, keys=scales, **NARROW).path
    assert distance(path) < 0.005
    plain = write_model(tmp_path / "plain.gguf", "gemma3n", "F32", n_layer=4, **NARROW).path
    with flyball.Model.load(path, context=128) as one, flyball.Model.load(plain, context=128) as other:
        assert np.abs(one.logits(IDS) - other.logits(IDS)).max() > 0.1


def test_keys_that_say_the_usual_change_nothing(tmp_path: Path) -> None:
    """What files leave out has the values of llama.cpp, which reads none of these keys."""
    names = [
        *("attention.sliding_window_pattern", "attention.shared_kv_layers", "embedding_length_per_layer_input"),
        *("altup.active_idx", "altup.num_inputs", "activation_sparsity_scale", "final_logit_softcapping"),
    ]
    none: dict[str, gf.Value | None] = {f"gemma3n.{name}": None for name in names}
    more = NARROW | {"n_embd_per_layer": 256}
    path = write_model(tmp_path / "m.gguf", "gemma3n", "F16", n_layer=22, **more).path
    silent = write_model(tmp_path / "silent.gguf", "gemma3n", "F16", n_layer=22, keys=none, **more).path
    with flyball.Model.load(path, context=128) as one, flyball.Model.load(silent, context=128) as other:
        assert np.array_equal(one.logits(IDS), other.logits(IDS))


@pytest.mark.parametrize("cache", ["f16", "f32", "q8_0"])
def test_sessions_and_prefixes_with_shared_caches(cache: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "gemma3n", "Q8_0", n_layer=23, **NARROW).path
    prompt = [(13 * i + 7) % 400 for i in range(100)]
    with flyball.Model.load(path, context=256, cache_type=cache) as model:
        expected = model.generate(prompt, 8, ignore_eos=True, seed=3)
        first = model.session()
        first.generate(prompt[:70], 2, ignore_eos=True)
        first.save(tmp_path / "session")
        restored = model.session()
        restored.restore(tmp_path / "session")
        again = restored.generate(prompt, 8, ignore_eos=True, seed=3)
        assert (again.digest, again.metrics.cached_tokens) == (expected.digest, 70)
        shared = model.session().generate(prompt, 8, ignore_eos=True, seed=3)
        assert (shared.digest, shared.metrics.shared_tokens) == (expected.digest, 64)


def test_tokens_that_are_not_wanted_change_no_other(tmp_path: Path) -> None:
    """The streams end for a whole batch: rows of sequences side by side stay apart."""
    path = write_model(tmp_path / "m.gguf", "gemma3n", "Q4_0", n_layer=6, **NARROW).path
    prompts = [IDS[:40], IDS[5:9], IDS]
    with flyball.Model.load(path, context=128) as model:
        alone = [model.generate(prompt, 6, ignore_eos=True, seed=2).digest for prompt in prompts]
        together = model.generate_many(prompts, 6, ignore_eos=True, seed=2)
    assert [result.digest for result in together] == alone


def test_a_row_of_zeros_stays_finite(tmp_path: Path) -> None:
    """Embeddings of images' tokens are zero in files: their projections have no magnitude to divide by."""
    path = write_model(tmp_path / "m.gguf", "gemma3n", "F32", n_layer=2, embedding_gain=0.0, **NARROW).path
    with flyball.Model.load(path, context=128) as model:
        assert np.isfinite(model.logits(IDS)).all()
