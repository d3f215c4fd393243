"""The referee judged: file layouts by the `gguf` package. tests/golden/referee_live.py judges it by llama.cpp."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.reference import forward, gguf_file
from tests.reference.grid_quants import ENCODERS as GRID_TYPES
from tests.reference.models import TYPES, write_model
from tests.reference.quants import quantize
from tests.reference.variants import VARIANTS

# Relative root mean square error on bell-shaped weights that each type's simple quantiser must stay below. Any slip in
# a layout (a nibble, a scale) gives an error of the order of 1.
ERROR = {
    "F32": 0.0,
    "F16": 3e-4,
    "BF16": 3e-3,
    "Q8_0": 0.007,
    "Q6_K": 0.022,
    "Q5_K": 0.045,
    "Q5_0": 0.05,
    "Q5_1": 0.045,
    "Q4_0": 0.1,
    "Q4_1": 0.09,
    "Q4_K": 0.09,
    "IQ4_NL": 0.09,
    "IQ4_XS": 0.09,
    "MXFP4": 0.13,
    "NVFP4": 0.11,
    "TQ1_0": 0.5,
    "TQ2_0": 0.5,
    "IQ3_XXS": 0.23,
    "IQ3_S": 0.18,
    "IQ2_XXS": 0.44,
    "IQ2_XS": 0.38,
    "IQ2_S": 0.34,
    "IQ1_S": 0.57,
    "IQ1_M": 0.55,
    "Q3_K": 0.18,
    "Q2_K": 0.36,
}


def sample() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Bell-shaped rows, and rows that scales fail on: zero, constant, one sign only, tiny."""
    x = np.random.default_rng(3).standard_normal((32, 512)).astype(np.float32)
    x[0], x[1], x[2], x[3], x[4] = 0, 1.5, np.abs(x[2]), -np.abs(x[3]), x[4] * np.float32(1e-4)
    return x


@pytest.mark.parametrize("kind", TYPES)
def test_quantised_rows_read_back(kind: str) -> None:
    x = sample()
    number, block, block_bytes = gguf_file.TENSOR_TYPES[kind]
    tensor_type = gguf.GGMLQuantizationType[kind]
    assert (tensor_type.value, (block, block_bytes)) == (number, gguf.GGML_QUANT_SIZES[tensor_type])
    raw = quantize(x, kind)
    assert raw.shape == (32, 512 // block * block_bytes)
    y = gguf.dequantize({"F32": raw.view("<f4"), "F16": raw.view("<f2")}.get(kind, raw), tensor_type)
    error = np.sqrt(np.mean((y - x) ** 2, axis=1) / np.maximum(np.mean(x**2, axis=1), 1e-30))
    assert np.all(y[0] == 0)
    # Equal values are not a point of every grid, and half a level of the ternary types.
    assert error[1] < (0.51 if kind in GRID_TYPES or "TQ" in kind else 3e-3 if kind == "BF16" else 1e-3)
    assert error[2:4].max() <= 1.5 * ERROR[kind]
    if kind != "NVFP4":  # whose scales begin at 2^-10; its files scale whole matrices
        assert error[4] <= 1.5 * ERROR[kind] + 0.05  # a float16 scale near its smallest values
    assert error[5:].max() <= 1.5 * ERROR[kind]
    assert error[5:].mean() <= ERROR[kind]


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_model(tmp_path / "a.gguf", "phi3", "Q4_K", seed=7)
    second = write_model(tmp_path / "b.gguf", "phi3", "Q4_K", seed=7)
    other = write_model(tmp_path / "c.gguf", "phi3", "Q4_K", seed=8)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.sha256 == second.sha256 != other.sha256


@pytest.mark.parametrize("arch", VARIANTS)
def test_logits_are_finite_and_neither_flat_nor_one_hot(arch: str, tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model.gguf", arch, "F16")
    x = forward.logits(spec.path, range(96))
    assert x.shape == (96, spec.shape.n_vocab)
    assert 1.0 < x.std() < 4.0


def test_a_prefix_has_the_same_logits(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model.gguf", "gemma3", "F16")
    ids = list(range(100))
    np.testing.assert_allclose(forward.logits(spec.path, ids)[:70], forward.logits(spec.path, ids[:70]), atol=1e-9)


def test_a_position_changes_a_later_one_only_within_sight(tmp_path: Path) -> None:
    """With one sliding layer of window 8, token 0 reaches position 7 and not position 8."""
    spec = write_model(tmp_path / "model.gguf", "gemma2", "F16", n_layer=1, sliding_window=8)
    a, b = (forward.logits(spec.path, [first, *range(1, 16)]) for first in (30, 40))
    moved = np.abs(a - b).max(axis=1)
    assert np.all(moved[:8] > 1e-6)
    assert np.all(moved[8:] < 1e-12)


def test_phi3_chooses_its_factors_by_the_size_of_the_context(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model.gguf", "phi3-long", "F16")
    ids = list(range(40))
    short, long = forward.logits(spec.path, ids, n_ctx=256), forward.logits(spec.path, ids, n_ctx=512)
    assert np.abs(short - long).max() > 0.1
