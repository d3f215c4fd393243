"""Gemma 4: layers of two kinds, shared keys and values, inputs of layers, experts beside a feed-forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from tests.reference import gguf_file as gf
from tests.reference.forward import logits as reference_logits
from tests.reference.models import write_model
from tests.reference.variants import VARIANTS

VARIANTS_OF = [name for name in VARIANTS if name.startswith("gemma4")]
IDS = [(37 * i * i + 11 * i + 5) % 400 for i in range(90)]  # beyond the window
PROMPT = [(13 * i + 7) % 400 for i in range(100)]


def distances(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each position's logits from the reference."""
    with flyball.Model.load(path, context=128, cache_type="f32") as model:
        found = model.logits(IDS)
    return np.asarray(np.abs(found - reference_logits(path, IDS)).max(axis=1))


@pytest.mark.parametrize("variant", VARIANTS_OF)
def test_logits_are_the_reference_s(variant: str, tmp_path: Path) -> None:
    found = distances(write_model(tmp_path / "m.gguf", variant, "F32").path)
    assert np.median(found) < 0.002  # a near tie of two experts may go the other way
    assert variant == "gemma4-moe" or found.max() < 0.01


def test_an_output_matrix_and_other_keys_are_used(tmp_path: Path) -> None:
    keys = {"gemma4.final_logit_softcapping": gf.f32(5.0), "gemma4.rope.freq_base_swa": gf.f32(500.0)}
    path = write_model(tmp_path / "m.gguf", "gemma4-shared", "F32", tied=False, sliding_window=40, keys=keys).path
    assert distances(path).max() < 0.01


@pytest.mark.parametrize("cache", ["f16", "f32", "q8_0"])
@pytest.mark.parametrize("variant", ["gemma4", "gemma4-shared"])
def test_sessions_and_prefixes_with_shared_keys_and_values(variant: str, cache: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", variant, "Q8_0").path
    with flyball.Model.load(path, context=256, cache_type=cache) as model:
        expected = model.generate(PROMPT, 8, ignore_eos=True, seed=3)
        first = model.session()
        assert model.info.cache_bytes(256, cache) <= first.cache_bytes < 1.1 * model.info.cache_bytes(256, cache)
        first.generate(PROMPT[:70], 2, ignore_eos=True)
        first.save(tmp_path / "session")
        restored = model.session()
        restored.restore(tmp_path / "session")
        again = restored.generate(PROMPT, 8, ignore_eos=True, seed=3)
        assert (again.digest, again.metrics.cached_tokens) == (expected.digest, 70)
        shared = model.session().generate(PROMPT, 8, ignore_eos=True, seed=3)
        assert (shared.digest, shared.metrics.shared_tokens) == (expected.digest, 64)


def test_a_session_knows_its_model(tmp_path: Path) -> None:
    """The header has the largest sizes alone; the fingerprint tells models apart whose layers differ otherwise."""
    one = write_model(tmp_path / "one.gguf", "gemma4", "F16").path
    layers = VARIANTS["gemma4"].layers
    other = write_model(tmp_path / "other.gguf", "gemma4", "F16", layers=(*layers[1:], layers[0])).path
    with flyball.Model.load(one, context=128) as model:
        session = model.session()
        session.generate(PROMPT[:20], 1)
        session.save(tmp_path / "session")
    with flyball.Model.load(other, context=128) as model, pytest.raises(flyball.Error, match="another model"):
        model.session().restore(tmp_path / "session")


def test_layers_that_share_need_and_cache_nothing_of_their_own(tmp_path: Path) -> None:
    shape = VARIANTS["gemma4-shared"]
    path = write_model(tmp_path / "m.gguf", "gemma4-shared", "F16").path
    with flyball.Model.load(path) as model:
        own = sum(layer["n_head_kv"] * layer["head_dim"] for layer in shape.layers[: shape.n_layer - shape.shared_kv])
        assert model.info.cache_bytes(10, "f32") == 10 * 2 * own * 4
        # The embedding of all layers stays in the file: its rows are read from there.
        table = shape.n_vocab * shape.n_layer * shape.n_embd_per_layer * 2
        assert model.info.weight_bytes < model.info.file_bytes - table


def test_embeddings_of_layers_are_looked_up_in_any_type(tmp_path: Path) -> None:
    for kind in ("Q4_K", "Q6_K", "IQ4_NL", "BF16"):
        path = write_model(tmp_path / f"{kind}.gguf", "gemma4-shared", kind).path
        with flyball.Model.load(path, context=128) as model:
            one, many = model.logits(IDS, batch=1), model.logits(IDS, batch=64)
        assert np.array_equal(one, many)
