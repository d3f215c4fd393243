"""The forward pass of training: Flyball's logits, of every architecture it knows; the same bits in little memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import flyball
from flyball.errors import Unsupported
from flyball.train import parity
from flyball.train.lora import Lora
from flyball.train.trainer import Scores
from tests.python.train.conftest import decoder_of
from tests.reference.distance import distance
from tests.reference.models import write_model

VARIANTS = [
    *("llama", "llama-tied", "llama-bias", "llama3", "llama-linear", "llama-yarn", "mistral"),
    *("qwen2", "qwen3", "gemma2", "gemma3"),
]


def served_and_trained(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with flyball.Model.load(path, context=96, threads=1) as model:
        ids = [(7919 * i * i + 31 * i) % model.info.n_vocab for i in range(80)]  # beyond the sliding window of 64
        served = model.session(cache_type="f32").logits(ids)
    decoder = decoder_of(path)
    decoder.check_complete()
    with torch.no_grad():
        return served.astype(np.float64), decoder.logits(decoder.hidden(torch.tensor([ids]), None))[0].numpy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_the_served_ones(tmp_path: Path, variant: str) -> None:
    path = write_model(tmp_path / "m.gguf", variant, "F32").path
    assert np.abs(np.subtract(*served_and_trained(path))).max() < 1e-4


@pytest.mark.parametrize(("variant", "wtype"), [("qwen3", "Q4_K"), ("llama", "Q8_0"), ("gemma3", "Q4_0")])
def test_quantized_weights_are_those_of_the_file(tmp_path: Path, variant: str, wtype: str) -> None:
    """Served activations are quantized as well, which costs this much."""
    path = write_model(tmp_path / "m.gguf", variant, wtype).path
    assert distance(*served_and_trained(path)).kl_mean < 0.01


@pytest.mark.parametrize(
    ("variant", "wtype", "told"),
    [
        ("phi3", "Q8_0", "general.architecture: is 'phi3'"),
        ("llama", "Q1_0", "has the type Q1_0, which cannot be trained on"),
    ],
)
def test_what_training_does_not_know_is_refused(tmp_path: Path, variant: str, wtype: str, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        decoder_of(write_model(tmp_path / "m.gguf", variant, wtype).path).check_complete()


def test_a_tensor_that_would_be_left_out_is_refused(tmp_path: Path) -> None:
    more = {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}
    decoder = decoder_of(write_model(tmp_path / "m.gguf", "llama", "F32", more=more).path)
    with pytest.raises(Unsupported, match="is a tensor that training does not know"):
        decoder.check_complete()


def test_padding_changes_no_answer(tmp_path: Path) -> None:
    """Of rows of other lengths beside it, in a batch."""
    decoder = decoder_of(write_model(tmp_path / "m.gguf", "gemma3", "F32").path)
    scores = Scores(decoder, Lora(decoder.weights, 2, 4.0, 1))
    answers = [(tuple(range(3, 3 + n)), tuple(range(40, 40 + m))) for n, m in ((1, 1), (70, 3), (5, 9))]
    with torch.no_grad():
        together = scores.tokens(answers, False)
        alone = [scores.tokens([answer], False)[0] for answer in answers]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_little_memory_gives_the_same_gradients(tmp_path: Path) -> None:
    """Matrices stay in the file, of two layers those of one are kept as floats, activations are computed again."""
    path = write_model(tmp_path / "m.gguf", "qwen2", "Q4_0").path
    gradients = []
    for little in (False, True):
        decoder = decoder_of(path, 1 << 30, recompute=little)
        if little:
            decoder.weights.keep_bytes = decoder.weights.layer_bytes()
        lora = Lora(decoder.weights, 2, 4.0, 1)
        with torch.no_grad():
            for _, b in lora.pairs.values():
                b += 0.01
        scored = Scores(decoder, lora).tokens([((1, 2, 3), (4, 5)), ((7,), (8, 9, 10))], True)
        torch.autograd.backward(torch.cat(scored).sum())
        gradients.append([tensor.grad for tensor in lora.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True) if one is not None)
    assert any(bool(one.any()) for one in gradients[0] if one is not None)
    assert 0 < decoder.weights.kept_bytes <= decoder.weights.layer_bytes() < decoder.weights.float_bytes()


def test_a_rotation_of_another_kind_is_found(tmp_path: Path) -> None:
    """A model that computes otherwise than training must not be trained: here, the wrong pairs turn."""
    path = write_model(tmp_path / "m.gguf", "qwen2", "Q8_0").path
    ids = [(37 * i * i + 11 * i + 5) % 333 for i in range(40)]
    with flyball.Model.load(path, context=64, threads=1) as model:
        assert parity.check_base(model, decoder_of(path), ids) < 0.01
        wrong = decoder_of(path)
        paired = replace(wrong.architecture.rope, paired=True)
        wrong.architecture = replace(wrong.architecture, rope=paired)
        with pytest.raises(Unsupported, match="gives other logits in training than served"):
            parity.check_base(model, wrong, ids)
