"""The referee against llama.cpp itself, for `make parity`: it needs llama-cpp-python, which `make test` does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from tests.python.engine.test_llama4 import CHUNK, IDS, NARROW
from tests.reference import forward, llama
from tests.reference.adapters import write_adapter
from tests.reference.distance import distance
from tests.reference.models import write_model
from tests.reference.variants import VARIANTS

# The variants, and combinations that none of them has.
JUDGED: list[tuple[str, dict[str, Any]]] = [
    *((arch, {}) for arch in VARIANTS),
    ("qwen2", {"rope_scaling": "yarn", "rope_factor": 8.0, "rope_original": 64}),
    ("llama3", {"rope_scaling": "yarn", "rope_factor": 2.0, "rope_original": 256, "rope_attn_factor": 0.9}),
    ("llama-linear", {"rope_attn_factor": 1.25}),
    ("llama-linear", {"rope_scaling": "none"}),
    ("gemma2", {"rope_scaling": "linear", "rope_factor": 2.0, "rope_base_swa": 500.0, "sliding_window": 100}),
    ("gemma3", {"rope_scaling": "yarn", "rope_factor": 4.0, "rope_original": 128, "final_softcap": 20.0}),
    ("gemma3", {"sliding_window": 0, "rope_base_swa": 0.0}),
    ("gemma3", {"n_layer": 62, "n_ff": 256, "n_head": 2, "n_head_kv": 1, "head_dim": 64, "post_norm_gain": 0.5}),
    ("gemma3n", {"n_layer": 3, "tied": False, "n_head": 4}),
    ("mistral3", {"rope_freqs": True, "rope_scaling": "", "yarn": None, "rope_base": 500000.0}),
    ("mistral3", {"yarn": (32.0, 1.0, 0.0)}),
    ("ernie4_5-moe", {"n_ff_shared": 0, "choice_bias": False, "n_expert_used": 2}),
    ("llama4", {"n_layer": 4, "n_expert": 128, "n_ff": 32, "n_ff_shared": 32, "n_expert_used": 2}),
    ("llama4", {"rope_base_swa": 20000.0, "rope_freqs": False}),
    ("gpt-oss", {"rope_base_swa": 10000.0, "sliding_window": 7}),
    ("glm4moe", {"expert_norm": False, "expert_scale": 0.0}),
    ("minimax-m2", {"expert_gating": 4}),
    ("deepseek2", {"q_rank": 0, "n_layer": 26, "choice_bias": False, "expert_groups": None}),  # a lite model
    ("laguna", {"rope_dims": 0}),
    ("phi3-long", {"rope_scaling": "yarn", "rope_factor": 2.0, "sliding_window": 32}),
]


@pytest.mark.parametrize("arch", ["llama", "llama-bias", "qwen3", "qwen3moe", "phi3", "granite"])
def test_llama_cpp_agrees_with_an_adapter(arch: str, tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model.gguf", arch, "F32")
    adapter = write_adapter(tmp_path / "adapter.gguf", arch)
    ids = [(37 * i + i * i // 5) % spec.shape.n_vocab for i in range(300)]
    truth = forward.logits(spec.path, ids, adapter=forward.Adapter(adapter, 0.75))
    found = distance(truth, llama.logits(spec.path, ids, llama.EXACT, adapter, 0.75))
    assert (found.kl_median if "moe" in arch else found.kl_mean) < 1e-9
    assert distance(truth, forward.logits(spec.path, ids)).kl_mean > 1e-2  # the adapter matters


@pytest.mark.parametrize(("arch", "overrides"), JUDGED)
def test_llama_cpp_agrees(arch: str, overrides: dict[str, Any], tmp_path: Path) -> None:
    spec = write_model(tmp_path / "model.gguf", arch, "F32", **overrides)
    ids = [(37 * i + i * i // 5) % spec.shape.n_vocab for i in range(300)]
    found = distance(forward.logits(spec.path, ids), llama.logits(spec.path, ids, llama.EXACT))
    # llama.cpp takes gemma's GELU from a table of float16, and qwen2vl's angles from repeated multiplication.
    deep = spec.shape.n_layer > 20 and arch == "gemma3n"
    assert found.logit_difference_max < (2e-1 if deep else 2e-2 if arch.startswith("gemma") else 1e-3)
    assert found.kl_mean < (1e-4 if deep else 2e-6 if arch.startswith("gemma") else 1e-7 if arch == "qwen2vl" else 1e-9)


def test_llama_cpp_agrees_with_flyball_beyond_a_chunk(tmp_path: Path) -> None:
    """Of Llama 4's 8192 positions, for which the referee's matrices would be too large."""
    path = write_model(tmp_path / "model.gguf", "llama4", "F32", n_layer=4, **NARROW).path
    theirs = llama.logits(path, IDS, replace(llama.EXACT, n_ctx=CHUNK + 512))
    with flyball.Model.load(path, context=CHUNK + 512, cache_type="f32") as model:
        ours = model.logits(IDS)
    after = slice(CHUNK - 2, None)
    assert ((ours - theirs)[after] ** 2).sum() < 1e-6 * (theirs[after] ** 2).sum()
