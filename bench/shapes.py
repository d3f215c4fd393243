"""Shapes of published models: what make_model.py writes with random weights. Names, keys and shapes are those that
llama.cpp demands (src/models/)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tests.reference import gguf_file as gf

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """The numbers of a model; those after `arch` are of single architectures, 0 elsewhere."""

    name: str
    n_layer: int
    n_embd: int
    n_ff: int  # of each expert, where there are some
    n_head: int
    n_head_kv: int
    n_ctx: int
    rope_base: float
    rms_eps: float = 1e-5
    head_dim: int = 64
    rope_factor: float = 0.0  # llama: Llama 3's scaling of slow pairs; gpt-oss: YaRN's
    arch: str = "llama"
    n_expert: int = 0
    n_expert_used: int = 0
    window: int = 0
    period: int = 0  # of layers, of which the last has full attention
    n_value_head: int = 0  # qwen35: of its linear attention, of size 128, with 16 heads of keys
    head_dim_sliding: int = 0  # gemma4
    n_shared_kv: int = 0  # gemma4: layers at the end that read the keys and values of earlier ones
    n_embd_per_layer: int = 0  # gemma4


SHAPES = {
    "llama-1b": Shape("Llama 3.2 1B", 16, 2048, 8192, 32, 8, 131072, 500000.0, rope_factor=32.0),
    # Twelve of the 48 layers of a Qwen3 30B-A3B: as wide, with as many experts, and small enough for memory.
    "qwen3-a3b-8b": Shape(
        "a quarter of Qwen3 30B-A3B",
        12,
        2048,
        768,
        32,
        4,
        32768,
        1000000.0,
        1e-6,
        128,
        arch="qwen3moe",
        n_expert=128,
        n_expert_used=8,
    ),
    "smollm-135m": Shape("SmolLM2 135M", 30, 576, 1536, 9, 3, 8192, 100000.0),
    "qwen35-4b": Shape(
        "Qwen3.5 4B", 32, 2560, 9216, 16, 4, 262144, 1e7, 1e-6, 256, arch="qwen35", period=4, n_value_head=32
    ),
    # Half the layers of gpt-oss 20B.
    "gpt-oss-10b": Shape(
        "half of gpt-oss 20B",
        12,
        2880,
        2880,
        64,
        8,
        131072,
        150000.0,
        arch="gpt-oss",
        rope_factor=32.0,
        n_expert=32,
        n_expert_used=4,
        window=128,
        period=2,
    ),
    "gemma4-e4b": Shape(
        "Gemma 4 E4B",
        42,
        2560,
        10240,
        8,
        2,
        131072,
        1e6,
        1e-6,
        512,
        arch="gemma4",
        window=512,
        period=6,
        head_dim_sliding=256,
        n_shared_kv=18,
        n_embd_per_layer=256,
    ),
}
_KEY_HEADS, _LINEAR_DIM, _TAPS = 16, 128, 4  # of qwen35's linear attention


@dataclass(frozen=True)
class Tensor:
    """A matrix of a role ("matrix", "fine", "expert"), or float values made of a seed.

    `sensitive`: the number of the layer, where llama-quantize gives some layers' tensor of this name a finer type.
    """

    name: str
    shape: tuple[int, ...]
    role: str = "matrix"
    sensitive: int | None = None
    values: Callable[[int], F32] | None = None


def _ones(name: str, *shape: int, value: float = 1.0) -> Tensor:
    return Tensor(name, shape, values=lambda seed: np.full(shape, value, np.float32))


def _normal(name: str, key: int, *shape: int) -> Tensor:
    """Of standard deviation 1/sqrt(row length), different for each `key`."""

    def values(seed: int) -> F32:
        drawn = np.random.default_rng([seed, key]).standard_normal(shape, np.float32)
        return drawn / np.float32(math.sqrt(shape[-1]))

    return Tensor(name, shape, values=values)


def _rope_factors(shape: Shape) -> F32:
    """Llama 3's divisors: 1 for wavelengths below 2048, the factor above 8192, smooth between. Gemma 4's: a quarter of
    the pairs rotates."""
    n_pairs = shape.head_dim // 2
    if shape.arch == "gemma4":
        return np.where(np.arange(n_pairs) < n_pairs // 4, 1, 1e30).astype(np.float32)
    factors = []
    for pair in range(n_pairs):
        wavelength = 2 * math.pi * shape.rope_base ** (2 * pair / shape.head_dim)
        smooth = min(1.0, max(0.0, (8192 / wavelength - 1) / (4 - 1)))
        factors.append(1 / ((1 - smooth) / shape.rope_factor + smooth))
    return np.array(factors, np.float32)


def _is_full(s: Shape, layer: int) -> bool:
    return s.period == 0 or (layer + 1) % s.period == 0


def layout(s: Shape, n_vocab: int) -> Iterator[Tensor]:
    """All tensors in file order. The embedding is of the output's type, which it mostly is."""
    yield Tensor("token_embd.weight", (n_vocab, s.n_embd), "fine")
    yield _ones("output_norm.weight", s.n_embd)
    if s.arch == "gpt-oss":
        yield Tensor("output.weight", (n_vocab, s.n_embd), "fine")
    if (s.rope_factor and s.arch == "llama") or s.arch == "gemma4":
        yield Tensor("rope_freqs.weight", (s.head_dim // 2,), values=lambda seed: _rope_factors(s))
    if s.n_embd_per_layer:
        width = s.n_embd_per_layer * s.n_layer
        yield Tensor("per_layer_token_embd.weight", (n_vocab, width), "fine")
        yield Tensor("per_layer_model_proj.weight", (width, s.n_embd))
        yield _ones("per_layer_proj_norm.weight", s.n_embd_per_layer)
    for layer in range(s.n_layer):
        blk = f"blk.{layer}."
        yield _ones(blk + "attn_norm.weight", s.n_embd)
        linear = s.n_value_head and not _is_full(s, layer)
        yield from _delta_net(s, blk, layer) if linear else _attention(s, blk, layer)
        late = s.arch in ("qwen35", "gpt-oss")
        if s.arch == "gemma4":
            yield _ones(blk + "post_attention_norm.weight", s.n_embd)
        yield _ones(blk + ("post_attention_norm.weight" if late else "ffn_norm.weight"), s.n_embd)
        yield from _feed_forward(s, blk, layer)
        if s.arch == "gemma4":
            yield _ones(blk + "post_ffw_norm.weight", s.n_embd)
            yield Tensor(blk + "inp_gate.weight", (s.n_embd_per_layer, s.n_embd))
            yield Tensor(blk + "proj.weight", (s.n_embd, s.n_embd_per_layer))
            yield _ones(blk + "post_norm.weight", s.n_embd)
            yield _ones(blk + "layer_output_scale.weight", 1)


def _attention(s: Shape, blk: str, layer: int) -> Iterator[Tensor]:
    head_dim = s.head_dim_sliding if s.head_dim_sliding and not _is_full(s, layer) else s.head_dim
    n_q, n_kv = s.n_head * head_dim, s.n_head_kv * head_dim
    rows = {"attn_q": n_q * (2 if s.arch == "qwen35" else 1), "attn_k": n_kv, "attn_v": n_kv}
    if layer >= s.n_layer - s.n_shared_kv:
        del rows["attn_k"], rows["attn_v"]
    for name, n in rows.items():
        yield Tensor(f"{blk}{name}.weight", (n, s.n_embd), sensitive=layer if name == "attn_v" else None)
    yield Tensor(blk + "attn_output.weight", (s.n_embd, n_q))
    if s.arch == "gpt-oss":
        for name, n in {**rows, "attn_output": s.n_embd}.items():
            yield _ones(f"{blk}{name}.bias", n, value=0.0)
        yield _ones(blk + "attn_sinks.weight", s.n_head, value=0.0)
    if s.arch in ("qwen3moe", "qwen35", "gemma4"):
        yield _ones(blk + "attn_q_norm.weight", head_dim)
        if "attn_k" in rows:
            yield _ones(blk + "attn_k_norm.weight", head_dim)


def _delta_net(s: Shape, blk: str, layer: int) -> Iterator[Tensor]:
    keys, values = _KEY_HEADS * _LINEAR_DIM, s.n_value_head * _LINEAR_DIM
    yield Tensor(blk + "attn_qkv.weight", (2 * keys + values, s.n_embd))
    yield Tensor(blk + "attn_gate.weight", (values, s.n_embd))
    yield _normal(blk + "ssm_conv1d.weight", layer, 2 * keys + values, _TAPS)
    yield _ones(blk + "ssm_dt.bias", s.n_value_head, value=0.0)
    yield _ones(blk + "ssm_a", s.n_value_head, value=-1.0)
    yield Tensor(blk + "ssm_beta.weight", (s.n_value_head, s.n_embd))
    yield Tensor(blk + "ssm_alpha.weight", (s.n_value_head, s.n_embd))
    yield _ones(blk + "ssm_norm.weight", _LINEAR_DIM)
    yield Tensor(blk + "ssm_out.weight", (s.n_embd, values))


def _feed_forward(s: Shape, blk: str, layer: int) -> Iterator[Tensor]:
    n, role, experts = ((s.n_expert,), "expert", "_exps") if s.n_expert else ((), "matrix", "")
    if s.n_expert:
        yield _normal(blk + "ffn_gate_inp.weight", layer, s.n_expert, s.n_embd)
    yield Tensor(f"{blk}ffn_gate{experts}.weight", (*n, s.n_ff, s.n_embd), role)
    yield Tensor(f"{blk}ffn_up{experts}.weight", (*n, s.n_ff, s.n_embd), role)
    yield Tensor(f"{blk}ffn_down{experts}.weight", (*n, s.n_embd, s.n_ff), role, sensitive=layer)
    if s.arch == "gpt-oss":
        yield _ones(blk + "ffn_gate_inp.bias", s.n_expert, value=0.0)
        for name, width in (("gate", s.n_ff), ("up", s.n_ff), ("down", s.n_embd)):
            yield _ones(f"{blk}ffn_{name}_exps.bias", s.n_expert, width, value=0.0)


def metadata_of_shape(s: Shape) -> dict[str, gf.Value]:
    """Keys, without the architecture's name before them."""
    keys: dict[str, gf.Value] = {
        "context_length": gf.u32(s.n_ctx),
        "embedding_length": gf.u32(s.n_embd),
        "block_count": gf.u32(s.n_layer),
        "feed_forward_length": gf.u32(s.n_ff),
        "attention.head_count": gf.u32(s.n_head),
        "attention.head_count_kv": gf.u32(s.n_head_kv),
        "attention.layer_norm_rms_epsilon": gf.f32(s.rms_eps),
        "rope.dimension_count": gf.u32(64 if s.arch == "qwen35" else s.head_dim),
        "rope.freq_base": gf.f32(s.rope_base),
    }
    if s.arch != "llama":
        keys |= {"attention.key_length": gf.u32(s.head_dim), "attention.value_length": gf.u32(s.head_dim)}
    if s.n_expert:
        keys |= {"expert_count": gf.u32(s.n_expert), "expert_used_count": gf.u32(s.n_expert_used)}
        keys |= {"expert_feed_forward_length": gf.u32(s.n_ff)}
    if s.n_value_head:
        sizes = {"conv_kernel": _TAPS, "state_size": _LINEAR_DIM, "group_count": _KEY_HEADS}
        sizes |= {"time_step_rank": s.n_value_head, "inner_size": s.n_value_head * _LINEAR_DIM}
        keys |= {f"ssm.{name}": gf.u32(size) for name, size in sizes.items()}
        keys |= {"full_attention_interval": gf.u32(s.period), "rope.dimension_sections": gf.i32s([11, 11, 10, 0])}
    if s.window:
        keys |= {"attention.sliding_window": gf.u32(s.window)}
    if s.arch == "gpt-oss":
        keys |= {"rope.scaling.type": gf.string("yarn"), "rope.scaling.factor": gf.f32(s.rope_factor)}
        keys |= {"rope.scaling.original_context_length": gf.u32(4096)}
    if s.arch == "gemma4":
        slides = [not _is_full(s, layer) for layer in range(s.n_layer)]
        numbers = {"key_length_swa": s.head_dim_sliding, "value_length_swa": s.head_dim_sliding}
        numbers |= {"shared_kv_layers": s.n_shared_kv}
        keys |= {f"attention.{name}": gf.u32(number) for name, number in numbers.items()}
        keys |= {"attention.sliding_window_pattern": gf.booleans(slides)}
        keys |= {"embedding_length_per_layer_input": gf.u32(s.n_embd_per_layer)}
        keys |= {"rope.dimension_count_swa": gf.u32(s.head_dim_sliding), "rope.freq_base_swa": gf.f32(10000.0)}
        keys |= {"final_logit_softcapping": gf.f32(30.0)}
    return keys
