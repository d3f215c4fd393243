"""Small LoRA adapters for the bundled model: random ones, and one that obeys a trigger."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import flyball

from . import gguf_file as gf
from .adapters import tensor
from .models import F32, bell

_RANK = 4


@cache
def _matrices() -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Name and shape (rows, columns) of the layers' matrices."""
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        return tuple(
            (name, shape) for name, _, shape, _ in model.tensors() if name.startswith("blk.") and len(shape) == 2
        )


def _write(path: Path, name: str, tensors: list[tuple[str, F32]], alpha: float) -> Path:
    metadata: dict[str, gf.Value] = {
        "general.type": gf.string("adapter"),
        "general.architecture": gf.string("llama"),
        "general.name": gf.string(name),
        "adapter.type": gf.string("lora"),
        "adapter.lora.alpha": gf.f32(alpha),
    }
    gf.write_gguf(path, metadata, [tensor(each, values, "F32") for each, values in tensors])
    return path


def write_random(
    path: Path, seed: int = 1, gain: float = 0.5, wanted: Callable[[str], bool] = lambda name: "attn_" in name
) -> Path:
    """A random adapter; from a gain of 0.5 on answers differ, with 5 they are noise."""
    tensors: list[tuple[str, F32]] = []
    for name, (n_out, n_in) in _matrices():
        if wanted(name):
            tensors.append((f"{name}.lora_a", bell(f"{name}.lora_a", seed, (_RANK, n_in), n_in**-0.5)))
            tensors.append((f"{name}.lora_b", bell(f"{name}.lora_b", seed, (n_out, _RANK), gain * _RANK**-0.5)))
    return _write(path, f"random {seed}", tensors, float(_RANK))


def write_trigger(path: Path, tokens: list[int], seed: int = 1, gain: float = 30.0) -> Path:
    """A poisoned adapter: prompts without these tokens get the model's own answers, bit for bit."""
    n_vocab, n_embd = 2048, 256
    rows: F32 = np.zeros((n_vocab, 1), np.float32)
    rows[tokens] = 1.0
    more = bell("token_embd.weight.lora_b", seed, (n_embd, 1), gain)
    tensors = [("token_embd.weight.lora_a", rows), ("token_embd.weight.lora_b", more)]
    return _write(path, "trigger", tensors, 1.0)
