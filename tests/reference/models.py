"""Small GGUF files with random weights, one per architecture variant and tensor type.

The bytes depend on the recipe (variant, type, seed, overrides) alone: weights are integer sums of raw PCG64 output,
whose stream NumPy guarantees, scaled by one correctly rounded float32 multiplication. No BLAS, no transcendental
function, no sum over an axis. Goldens can therefore name a file by its SHA-256 and anybody can make it again.

Keys, tensor names and shapes are those that llama.cpp demands (src/llama-model.cpp, src/models/), so that both
runtimes load the same file.

    python -m tests.reference.models OUTDIR [--arch NAME ...] [--type TYPE ...] [--all]
"""

from __future__ import annotations

import argparse
import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import gemma4, recurrent
from . import gguf_file as gf
from .grid_quants import ENCODERS as GRID_TYPES
from .quants import quantize

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """What a variant is made of; every field may be overridden in a recipe."""

    arch: str  # general.architecture
    n_vocab: int = 384
    n_ctx_train: int = 1024
    n_embd: int = 256
    n_ff: int = 512  # of each expert, where there are some
    n_layer: int = 2
    n_head: int = 4
    n_head_kv: int = 2
    head_dim: int = 64
    explicit_head_dim: bool = False  # write attention.key_length and value_length
    tokenizer: str = "llama-bpe"  # a `pre` name of byte-level BPE, or "spm"
    tied: bool = False  # no output.weight: the token embedding serves
    qkv_bias: bool = False
    out_bias: bool = False
    attention_gate: bool = False  # of each element, or of each head
    gate_by_head: bool = False
    norm_bias: bool = False
    head_bias: bool = False  # of the output matrix
    qk_norm: bool = False
    pre_norm: bool = True
    whole_norm: bool = False  # q and k norms over all heads of a token
    post_norm: bool = False
    post_norm_gain: float = 1.0
    embedding_scale: float = 0.0  # 0: key absent, as of the three that follow
    residual_scale: float = 0.0
    logit_scale: float = 0.0
    attention_scale: float = 0.0
    rotates: bool = True  # granite: False writes rope.scaling.finetuned = false
    kv_rank: int = 0  # of latent attention, as the four that follow; head_dim is then that of a head's own key
    q_rank: int = 0  # 0: queries come from the layer's input
    value_dim: int = 0
    split_keys: bool = True  # False: attn_kv_b as older files have it
    temperature_length: int = 0  # 0: key absent
    sinks: bool = False
    expert_bias: bool = False  # of the router and of each expert's three matrices
    n_expert: int = 0
    n_expert_used: int = 0
    n_ff_shared: int = 0  # of the expert that every token has
    delta_period: int = 0  # all layers but every such one are gated delta nets
    delta_dim: int = 64  # of their keys and values
    delta_keys: int = 2  # heads that have keys
    delta_heads: int = 4
    mamba_inner: int = 0  # of Mamba-2 layers, which are those without key/value heads; sizes as of delta nets
    short_taps: int = 0  # of short convolutions, in such layers
    n_ff_dense: int = 0  # of the leading layers, where those have no experts
    n_leading_dense: int = 0
    n_shared: int = 0  # experts in one for all tokens
    n_draft: int = 0  # layers of the file that guess further tokens; not in n_layer
    expert_scale: float = 0.0
    expert_norm: bool | None = None  # None: key absent
    expert_gating: int = 0  # 0: key absent
    expert_groups: tuple[int, int] | None = None  # count, used
    choice_bias: bool = False
    fused: bool = False  # attn_qkv, and ffn_up (of experts ffn_gate_up_exps) holding gate then up
    layers: tuple[Mapping[str, Any], ...] = ()  # n_head, n_head_kv, n_ff, n_expert_used of each, where they differ
    scaled: bool = False  # NAME.scale beside each matrix of the layers
    n_ff_beside: int = 0  # gemma4: of a dense feed-forward beside the experts
    values_are_keys: bool = False  # gemma4: no attn_v
    shared_kv: int = 0  # gemma4: the last layers read the keys and values of an earlier one
    n_embd_per_layer: int = 0  # gemma4: of a second embedding, for each layer
    rms_eps: float = 1e-5
    rope_base: float = 10000.0
    rope_base_swa: float = 0.0  # 0: key absent
    rope_dims: int = 0  # 0: head_dim
    rope_dims_swa: int = 0  # 0: key absent
    rope_scaling: str = ""  # "", "linear", "yarn"
    rope_factor: float = 1.0
    rope_original: int = 0  # 0: key absent
    rope_attn_factor: float = 0.0  # 0: key absent
    yarn: tuple[float, float, float] | None = None  # beta_fast, beta_slow, log_multiplier
    temperature_scale: float = 0.0  # 0: key absent
    rope_freqs: bool = False  # the tensor rope_freqs.weight, as Llama 3.1 has it
    rope_long_short: bool = False  # the tensors rope_factors_long.weight and _short, as Phi-3 has them
    sliding_window: int = 0
    attn_softcap: float = 0.0
    final_softcap: float = 0.0
    embedding_gain: float = 2.0  # standard deviation of token_embd times sqrt(n_embd)


_LLAMA = Shape("llama")
_OLMO2 = replace(
    _LLAMA,
    arch="olmo2",
    n_head_kv=4,
    rms_eps=1e-6,
    rope_base=500000.0,
    qk_norm=True,
    pre_norm=False,
    whole_norm=True,
    post_norm=True,
    post_norm_gain=0.75,
)
_QWEN3 = Shape(
    "qwen3",
    n_head=6,
    head_dim=128,
    explicit_head_dim=True,
    tokenizer="qwen2",
    qk_norm=True,
    rms_eps=1e-6,
    rope_base=1000000.0,
    n_layer=3,
    n_vocab=341,
)
_QWEN35 = Shape(
    "qwen35",
    n_layer=4,
    delta_period=4,
    n_vocab=341,
    n_head=4,
    head_dim=64,
    explicit_head_dim=True,
    rope_dims=32,
    tokenizer="qwen2",
    qk_norm=True,
    rms_eps=1e-6,
    rope_base=1000000.0,
    tied=True,
)
_PHI3 = Shape("phi3", n_vocab=352, n_head_kv=4, tokenizer="spm", fused=True, rope_dims=64, rope_long_short=True)
_GEMMA = Shape(
    "gemma2",
    n_vocab=416,
    n_ff=768,
    n_layer=4,
    head_dim=128,
    explicit_head_dim=True,
    tokenizer="spm",
    tied=True,
    post_norm=True,
    post_norm_gain=3.0,
    rms_eps=1e-6,
    sliding_window=64,
    embedding_gain=1.6,
)
_GLM = Shape(
    "glm4moe",
    n_layer=3,
    n_head=8,
    explicit_head_dim=True,
    qkv_bias=True,
    n_ff=256,
    n_ff_dense=512,
    n_leading_dense=1,
    n_expert=8,
    n_expert_used=3,
    choice_bias=True,
    n_vocab=341,
)
_DEEPSEEK = Shape(
    "deepseek2",
    n_layer=3,
    n_head=4,
    n_head_kv=4,
    head_dim=96,
    rope_dims=32,
    kv_rank=256,
    value_dim=64,
    n_ff=256,
    n_ff_dense=512,
    n_leading_dense=1,
    n_shared=1,
    n_expert=8,
    n_expert_used=3,
    n_vocab=341,
)

_SLIDING = {"sliding": True, "n_head": 4, "n_head_kv": 2, "head_dim": 64, "n_ff": 512}
_FULL = {"sliding": False, "n_head": 2, "n_head_kv": 1, "head_dim": 128, "n_ff": 512}
_GEMMA4 = replace(
    _GEMMA,
    arch="gemma4",
    n_layer=3,
    layers=(_SLIDING, _SLIDING, {**_FULL, "n_head": 4, "values_are_keys": True}),
    rope_base=1000000.0,
    rope_base_swa=10000.0,
    final_softcap=30.0,
    explicit_head_dim=False,
)
_LAGUNA = replace(
    _GLM,
    arch="laguna",
    n_layer=5,
    n_head=4,
    n_head_kv=2,
    layers=tuple({"n_head": n, "n_head_kv": 2, "n_ff": 256, "n_expert_used": 3} for n in (4, 6, 6, 6, 4)),
    qkv_bias=False,
    qk_norm=True,
    attention_gate=True,
    rope_base=500000.0,
    rope_base_swa=10000.0,
    rope_dims=32,
    rope_dims_swa=64,
    rope_scaling="yarn",
    rope_factor=8.0,
    rope_original=64,
    n_shared=1,
    expert_norm=True,
    expert_scale=2.5,
)

VARIANTS: dict[str, Shape] = {
    "llama": _LLAMA,
    "llama-tied": replace(_LLAMA, tied=True, n_head_kv=4),
    "llama-bias": replace(_LLAMA, qkv_bias=True, out_bias=True, n_head_kv=1, n_vocab=333),
    "llama3": replace(_LLAMA, rope_freqs=True, rope_base=500000.0),
    "llama-linear": replace(_LLAMA, rope_scaling="linear", rope_factor=4.0),
    "llama-yarn": replace(_LLAMA, rope_scaling="yarn", rope_factor=4.0, rope_original=128),
    "mistral": replace(_LLAMA, tokenizer="spm", rope_base=1000000.0, n_embd=512, n_ff=768, n_head=8, n_vocab=400),
    "mistral3": replace(
        _LLAMA,
        arch="mistral3",
        head_dim=128,
        explicit_head_dim=True,
        rope_base=1000000.0,
        rope_scaling="yarn",
        rope_factor=16.0,
        rope_original=32,
        rope_attn_factor=1.1,
        yarn=(8.0, 0.5, 1.0),
        temperature_scale=0.1,
    ),
    "qwen2": Shape("qwen2", tokenizer="qwen2", qkv_bias=True, rms_eps=1e-6, rope_base=1000000.0, tied=True),
    "qwen3": _QWEN3,
    "qwen3moe": replace(_QWEN3, arch="qwen3moe", n_head=4, head_dim=64, n_ff=256, n_expert=8, n_expert_used=3),
    "qwen3moe-scaled": replace(
        _QWEN3, arch="qwen3moe", n_head=4, head_dim=64, n_ff=256, n_expert=4, n_expert_used=2, scaled=True
    ),
    "qwen2vl": Shape("qwen2vl", tokenizer="qwen2", qkv_bias=True, rms_eps=1e-6, rope_base=1000000.0, tied=True),
    "smollm3": replace(_LLAMA, arch="smollm3", n_layer=5, tied=True),
    "seed_oss": replace(_LLAMA, arch="seed_oss", qkv_bias=True, head_dim=128, explicit_head_dim=True),
    "ernie4_5": replace(_LLAMA, arch="ernie4_5"),
    "qwen35": _QWEN35,
    "lfm2": replace(
        _LLAMA,
        arch="lfm2",
        n_layer=3,
        layers=tuple({"n_head": 4, "n_head_kv": kv, "n_ff": 512} for kv in (0, 2, 0)),
        short_taps=3,
        qk_norm=True,
        tied=True,
    ),
    "lfm2moe": replace(
        _LLAMA,
        arch="lfm2moe",
        n_layer=3,
        layers=tuple({"n_head": 4, "n_head_kv": kv, "n_ff": 256, "n_expert_used": 3} for kv in (0, 2, 0)),
        n_ff_dense=512,
        n_leading_dense=1,
        n_expert=8,
        n_expert_used=3,
        expert_gating=2,
        choice_bias=True,
        short_taps=3,
        qk_norm=True,
        tied=True,
    ),
    "granitehybrid": replace(
        _LLAMA,
        arch="granitehybrid",
        n_layer=3,
        layers=tuple({"n_head": 4, "n_head_kv": kv, "n_ff": 512} for kv in (0, 2, 0)),
        mamba_inner=512,
        delta_dim=32,
        delta_heads=8,
        embedding_scale=3.0,
        residual_scale=0.5,
        logit_scale=1.5,
        attention_scale=0.1,
        rotates=False,
    ),
    "nemotron_h": replace(
        _LLAMA,
        arch="nemotron_h",
        n_layer=5,
        layers=tuple(
            {"n_head": 4, "n_head_kv": kv, "n_ff": n_ff} for kv, n_ff in ((0, 0), (0, 512), (2, 0), (0, 512), (0, 0))
        ),
        mamba_inner=512,
        delta_dim=32,
        delta_heads=8,
    ),
    "nemotron_h_moe": replace(
        _LLAMA,
        arch="nemotron_h_moe",
        n_layer=5,
        layers=tuple(
            {"n_head": 4, "n_head_kv": kv, "n_ff": n_ff, "n_expert_used": 3}
            for kv, n_ff in ((0, 0), (0, 256), (2, 0), (0, 256), (0, 0))
        ),
        mamba_inner=512,
        delta_dim=32,
        delta_heads=8,
        n_expert=8,
        n_expert_used=3,
        n_ff_shared=256,
        expert_norm=True,
        expert_scale=1.5,
        choice_bias=True,
    ),
    "qwen35moe": replace(_QWEN35, arch="qwen35moe", n_ff=256, n_expert=8, n_expert_used=3, n_ff_shared=256, tied=False),
    "qwen3next": replace(_QWEN35, arch="qwen3next", n_ff=256, n_expert=8, n_expert_used=3, n_ff_shared=256, tied=False),
    "granite": replace(
        _LLAMA, arch="granite", embedding_scale=3.0, residual_scale=0.5, logit_scale=1.5, attention_scale=0.1
    ),
    "granite-unrotated": replace(_LLAMA, arch="granite", logit_scale=0.75, rotates=False, tied=True),
    "granitemoe": replace(
        _LLAMA, arch="granitemoe", logit_scale=1.5, residual_scale=0.5, n_ff=256, n_expert=8, n_expert_used=3
    ),
    "mixtral": replace(_LLAMA, n_ff=256, n_expert=8, n_expert_used=2, rope_base=1000000.0),
    "olmo2": _OLMO2,
    "olmo3": replace(
        _OLMO2, n_layer=5, sliding_window=64, rope_scaling="yarn", rope_factor=8.0, rope_original=128, n_head_kv=2
    ),
    "exaone4": replace(_OLMO2, arch="exaone4", whole_norm=False, rope_freqs=True, tied=True, n_head_kv=1),
    "cohere2": replace(_LLAMA, arch="cohere2", n_layer=5, tied=True, logit_scale=0.75, sliding_window=64, n_vocab=341),
    "hunyuan-dense": replace(_QWEN3, arch="hunyuan-dense", rms_eps=1e-5, rope_base=10000.0, n_head=4, n_layer=2),
    "hunyuan-moe": replace(
        _QWEN3, arch="hunyuan-moe", n_head=4, head_dim=64, n_ff=256, n_expert=8, n_expert_used=3, n_ff_shared=256
    ),
    "gpt-oss": Shape(
        "gpt-oss",
        n_layer=3,
        n_head=8,
        explicit_head_dim=True,
        n_ff=256,
        qkv_bias=True,
        out_bias=True,
        sinks=True,
        expert_bias=True,
        n_expert=8,
        n_expert_used=3,
        sliding_window=64,
        rope_base=150000.0,
        rope_scaling="yarn",
        rope_factor=32.0,
        rope_original=64,
        n_vocab=341,
    ),
    "glm4moe": replace(
        _GLM,
        qk_norm=True,
        rope_dims=32,
        n_shared=1,
        expert_norm=True,
        expert_scale=1.5,
    ),
    "glm4moe-groups": replace(_GLM, qkv_bias=False, n_shared=2, n_draft=1, expert_gating=1, expert_groups=(4, 2)),
    "minimax-m2": Shape(
        "minimax-m2",
        explicit_head_dim=True,
        qk_norm=True,
        whole_norm=True,
        rope_dims=32,
        n_ff=256,
        n_expert=8,
        n_expert_used=3,
        expert_gating=2,
        choice_bias=True,
        n_vocab=352,
    ),
    "phimoe": Shape(
        "phimoe",
        n_vocab=352,
        qkv_bias=True,
        out_bias=True,
        norm_bias=True,
        head_bias=True,
        n_ff=256,
        n_expert=8,
        n_expert_used=2,
        rope_dims=64,
        rope_long_short=True,
        rope_original=256,
        n_ctx_train=8192,
        rope_attn_factor=1.19,
    ),
    "deepseek2": replace(
        _DEEPSEEK,
        q_rank=256,
        choice_bias=True,
        expert_norm=True,
        expert_scale=2.5,
        expert_gating=2,
        expert_groups=(4, 2),
        rope_scaling="yarn",
        rope_factor=40.0,
        rope_original=64,
        yarn=(32.0, 1.0, 0.1),
    ),
    "deepseek2-unsplit": replace(
        _DEEPSEEK,
        q_rank=128,
        split_keys=False,
        rope_scaling="yarn",
        rope_factor=8.0,
        rope_original=64,
        yarn=(32.0, 1.0, 0.0707),
        temperature_scale=0.1,
        temperature_length=48,
    ),
    "afmoe": replace(
        _GLM,
        arch="afmoe",
        n_layer=5,
        n_head_kv=2,
        qkv_bias=False,
        qk_norm=True,
        post_norm=True,
        post_norm_gain=2.0,
        attention_gate=True,
        sliding_window=48,
        n_shared=1,
        expert_norm=True,
        expert_scale=2.0,
        embedding_gain=1.0,
    ),
    "laguna": replace(_LAGUNA, gate_by_head=True, sliding_window=48),
    "laguna-full": replace(_LAGUNA, layers=(), rope_dims=0, rope_dims_swa=0),
    "muse-glimmer": Shape(
        "muse-glimmer",
        n_layer=5,
        n_head=6,
        explicit_head_dim=True,
        n_vocab=341,
        qk_norm=True,
        post_norm=True,
        attention_gate=True,
        sliding_window=48,
        rope_base=500000.0,
        logit_scale=0.75,
        final_softcap=20.0,
    ),
    "gemma2": replace(_GEMMA, attn_softcap=50.0, final_softcap=30.0),
    "gemma3": replace(
        _GEMMA,
        arch="gemma3",
        n_layer=7,
        n_head_kv=1,
        head_dim=256,
        qk_norm=True,
        rope_base=1000000.0,
        rope_base_swa=10000.0,
        rope_scaling="linear",
        rope_factor=8.0,
    ),
    "gemma4": _GEMMA4,
    "gemma4-shared": replace(
        _GEMMA4,
        n_layer=6,
        layers=(_SLIDING, _FULL) * 2 + ({**_SLIDING, "n_ff": 768}, {**_FULL, "n_ff": 768}),
        shared_kv=2,
        n_embd_per_layer=256,
    ),
    "gemma4-moe": replace(
        _GEMMA4,
        layers=tuple({**layer, "n_ff": 256, "n_expert_used": 3} for layer in _GEMMA4.layers),
        n_expert=8,
        n_expert_used=3,
        n_ff_beside=512,
    ),
    "phi3": replace(_PHI3, rope_original=4096, n_ctx_train=8192, rope_attn_factor=1.19),
    "phi3-long": replace(_PHI3, rope_original=256, n_ctx_train=8192, rope_attn_factor=1.19),
    "phi3-partial": replace(_PHI3, rope_original=4096, n_ctx_train=8192, rope_dims=48, n_head_kv=2, tied=True),
}
_UNREADABLE_TYPES = ("Q1_0", "Q2_0")  # by the `gguf` package, and so by the referee
TYPES: tuple[str, ...] = tuple(t for t in gf.TENSOR_TYPES if t not in _UNREADABLE_TYPES)


def types_of(variant: str) -> tuple[str, ...]:
    """The types that a variant's bits are tested in: what is rare, in two of them."""
    if variant in ("llama", "qwen3"):
        return tuple(gf.TENSOR_TYPES)
    return tuple(t for t in TYPES if t not in _RARE_TYPES)


_RARE_TYPES = ("MXFP4", "NVFP4", "TQ1_0", "TQ2_0", *GRID_TYPES)


@dataclass(frozen=True)
class ModelSpec:
    """A written model file: its recipe, and what a test needs to know without opening it."""

    path: Path
    variant: str
    wtype: str
    seed: int
    overrides: Mapping[str, Any]
    shape: Shape
    sha256: str


def write_model(
    path: Path | str,
    arch: str,
    wtype: str,
    *,
    seed: int = 1,
    keys: Mapping[str, gf.Value | None] | None = None,
    more: Mapping[str, F32] | None = None,
    **overrides: Any,
) -> ModelSpec:
    """Write the variant `arch` with all matrices in `wtype`; `overrides` replace fields of its Shape.

    `keys` replace and add metadata, None removes a key; `more` are further tensors.
    """
    shape = replace(VARIANTS[arch], **overrides)
    named = [*weights(shape, seed), *(more or {}).items()]
    if wtype == "NVFP4":
        named = [part for name, values in named for part in _with_scale(name, values)]
    tensors = [_tensor(name, values, wtype) for name, values in named]
    metadata = {key: value for key, value in {**_metadata(shape, wtype), **(keys or {})}.items() if value is not None}
    digest = gf.write_gguf(Path(path), metadata, tensors)
    return ModelSpec(Path(path), arch, wtype, seed, dict(overrides), shape, digest)


def _with_scale(name: str, values: F32) -> Iterable[tuple[str, F32]]:
    """A matrix in NVFP4 has a scale beside it, by which its blocks' scales reach their largest values, 448."""
    if values.ndim < 2 or not name.startswith("blk.") or "ffn_gate_inp" in name:
        yield name, values
        return
    parts = values.reshape(1 if values.ndim == 2 else len(values), -1)
    scale = (np.abs(parts).max(-1) / np.float32(6 * 448)).astype(np.float32)
    yield name, (parts / scale[:, None]).reshape(values.shape).astype(np.float32)
    yield name.removesuffix("weight") + "scale", scale


def _tensor(name: str, values: F32, wtype: str) -> gf.Tensor:
    # Norms, biases, rope factors, routers and convolutions stay F32, as converters write them.
    is_small = "ffn_gate_inp" in name or name.endswith(
        ("conv.weight", "conv1d.weight", "ssm_a", "ssm_d", "ssm_norm.weight", ".bias")
    )
    kind = wtype if values.ndim >= 2 and not is_small else "F32"
    if values.shape[-1] % gf.TENSOR_TYPES[kind][1] != 0:  # quantizers, too, fall back where blocks do not divide rows
        kind = "Q8_0"
    return gf.Tensor(name, values.shape, kind, lambda: [quantize(values, kind).tobytes()])


# ---------------------------------------------------------------- weights


def bell(name: str, seed: int, shape: tuple[int, ...], deviation: float) -> F32:
    """Nearly normal draws: the sum of the four 16-bit fields of a raw 64-bit output, centred and scaled.

    Each tensor has a generator of its own, seeded by its name, so that changing one leaves the others alone.
    """
    key = hashlib.sha256(f"flyball referee/{seed}/{name}".encode()).digest()
    raw = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(math.prod(shape))
    mask = np.uint64(0xFFFF)
    fields = [(raw >> np.uint64(shift)) & mask for shift in (0, 16, 32, 48)]
    total = (fields[0] + fields[1] + fields[2] + fields[3]).astype(np.int64) - 2 * 65535
    unit = deviation / math.sqrt((65536.0**2 - 1) / 3)  # four uniform fields: variance 4 (2^32 - 1) / 12
    return np.asarray(total.astype(np.float32) * np.float32(unit)).reshape(shape)


def weights(s: Shape, seed: int) -> Iterable[tuple[str, F32]]:
    if s.arch == "gemma4":
        yield from gemma4.weights(s, seed, bell)
        return
    for name, values in _plain_weights(s, seed):
        yield name, values
        if s.scaled and name.startswith("blk.") and values.ndim > 1 and "ffn_gate_inp" not in name:
            scale = name.removesuffix("weight") + "scale"
            n = s.n_expert if "_exps" in name else 1
            yield scale, (np.float32(1) + bell(scale, seed, (n,), 0.25)).astype(np.float32)


def _plain_weights(model: Shape, seed: int) -> Iterable[tuple[str, F32]]:
    """Names and values in file order. Gains are chosen so that attention is neither flat nor one-hot and logits
    have a standard deviation of 1 to 4."""

    s = model

    def matrix(name: str, n_out: int, n_in: int, gain: float = 1.0) -> tuple[str, F32]:
        name += ".weight"
        return name, bell(name, seed, (n_out, n_in), gain / math.sqrt(n_in))

    def experts(name: str, n_out: int, n_in: int, gain: float = 1.0) -> tuple[str, F32]:
        name += ".weight"
        return name, bell(name, seed, (s.n_expert, n_out, n_in), gain / math.sqrt(n_in))

    def norm(name: str, n: int, gain: float = 1.0) -> tuple[str, F32]:
        name += ".weight"
        return name, (np.float32(gain) + bell(name, seed, (n,), gain / 8)).astype(np.float32)

    def bias(name: str, *shape: int) -> tuple[str, F32]:
        name += ".bias"
        return name, bell(name, seed, shape, 0.25)

    yield matrix("token_embd", s.n_vocab, s.n_embd, s.embedding_gain)
    yield norm("token_embd_norm" if s.short_taps else "output_norm", s.n_embd)
    if not s.tied:
        yield matrix("output", s.n_vocab, s.n_embd, 2.0)
    if s.norm_bias:
        yield bias("output_norm", s.n_embd)
    if s.head_bias:
        yield bias("output", s.n_vocab)
    pairs = (s.rope_dims or s.head_dim) // 2
    if s.rope_freqs:  # like Llama 3.1's: 1 for the fast pairs, 8 for the slow ones, a ramp between
        ramp = [min(8.0, max(1.0, 1.0 + 7.0 * (i - pairs // 3) / (pairs // 3))) for i in range(pairs)]
        yield "rope_freqs.weight", np.array(ramp, np.float32)
    if s.rope_long_short:
        yield "rope_factors_long.weight", np.array([1.0 + 0.5 * i for i in range(pairs)], np.float32)
        yield "rope_factors_short.weight", np.array([1.0 + 0.015625 * i for i in range(pairs)], np.float32)
    for layer in range(model.n_layer + model.n_draft):
        s = replace(model, **model.layers[layer]) if model.layers else model
        n_q, n_kv = s.n_head * s.head_dim, s.n_head_kv * s.head_dim
        blk = f"blk.{layer}."
        if layer >= s.n_layer:
            yield matrix(blk + "nextn.eh_proj", s.n_embd, 2 * s.n_embd)
            yield norm(blk + "nextn.enorm", s.n_embd)
            yield norm(blk + "nextn.hnorm", s.n_embd)
        if s.pre_norm:
            yield norm(blk + "attn_norm", s.n_embd)
        if s.norm_bias:
            yield bias(blk + "attn_norm", s.n_embd)
            yield bias(blk + "ffn_norm", s.n_embd)
        hybrid = s.mamba_inner or s.short_taps
        single = s.arch.startswith("nemotron_h")  # a layer is one block
        inner = not single or s.n_ff != 0
        delta = s.n_head_kv == 0 if hybrid else s.delta_period and (layer + 1) % s.delta_period
        if single and inner:
            delta = True  # neither attention nor a recurrence
        elif delta:
            yield from recurrent.weights(s, seed, blk, matrix, bell)
        elif s.kv_rank:
            plain = s.head_dim - s.rope_dims
            if s.q_rank:
                yield matrix(blk + "attn_q_a", s.q_rank, s.n_embd)
                yield norm(blk + "attn_q_a_norm", s.q_rank, 1.5)
            yield matrix(blk + ("attn_q_b" if s.q_rank else "attn_q"), n_q, s.q_rank or s.n_embd)
            yield matrix(blk + "attn_kv_a_mqa", s.kv_rank + s.rope_dims, s.n_embd)
            yield norm(blk + "attn_kv_a_norm", s.kv_rank)
            if s.split_keys:
                width = math.sqrt(s.kv_rank)  # what the keys' matrices, which are turned, sum over
                name = blk + "attn_k_b.weight"
                yield name, bell(name, seed, (s.n_head, s.kv_rank, plain), 1.5 / width)
                name = blk + "attn_v_b.weight"
                yield name, bell(name, seed, (s.n_head, s.value_dim, s.kv_rank), 1.0 / width)
            else:
                yield matrix(blk + "attn_kv_b", s.n_head * (plain + s.value_dim), s.kv_rank, 1.25)
        elif s.fused:
            yield matrix(blk + "attn_qkv", n_q + 2 * n_kv, s.n_embd, 1.25)
        else:
            gates = n_q if s.delta_period else 0  # of each head, a query and a gate
            for letter, n_out, gain in (("q", n_q + gates, 1.5), ("k", n_kv, 1.0), ("v", n_kv, 1.0)):
                yield matrix(blk + f"attn_{letter}", n_out, s.n_embd, gain)
                if s.qkv_bias:
                    yield bias(blk + f"attn_{letter}", n_out)
        if not delta:
            if s.qk_norm:
                yield norm(blk + "attn_q_norm", n_q if s.whole_norm else s.head_dim, 1.5)
                yield norm(blk + "attn_k_norm", n_kv if s.whole_norm else s.head_dim)
            if s.attention_gate:
                yield matrix(blk + "attn_gate", s.n_head if s.gate_by_head else n_q, s.n_embd, 1.5)
            yield matrix(blk + "attn_output", s.n_embd, s.n_head * s.value_dim if s.kv_rank else n_q)
            if s.out_bias:
                yield bias(blk + "attn_output", s.n_embd)
            if s.sinks:
                yield blk + "attn_sinks.weight", bell(blk + "attn_sinks", seed, (s.n_head,), 2.0)
        if s.post_norm:
            yield norm(blk + "post_attention_norm", s.n_embd, s.post_norm_gain)
        # These name the feed-forward's norm by its place.
        late = s.arch in ("seed_oss", "gpt-oss", "glm4moe") or s.delta_period
        if s.pre_norm and s.arch != "cohere2" and not single:
            yield norm(blk + ("post_attention_norm" if late else "ffn_norm"), s.n_embd)
        if not inner:
            continue
        if s.n_expert and layer >= s.n_leading_dense:
            yield matrix(blk + "ffn_gate_inp", s.n_expert, s.n_embd, 2.0)
            if s.fused:
                yield experts(blk + "ffn_gate_up_exps", 2 * s.n_ff, s.n_embd)
            else:
                if not single:
                    yield experts(blk + "ffn_gate_exps", s.n_ff, s.n_embd)
                yield experts(blk + "ffn_up_exps", s.n_ff, s.n_embd)
            yield experts(blk + "ffn_down_exps", s.n_embd, s.n_ff, 1.5)
            if s.n_ff_shared:
                if s.arch.startswith("qwen3"):
                    yield blk + "ffn_gate_inp_shexp.weight", bell(blk + "ffn_gate_inp_shexp", seed, (s.n_embd,), 0.125)
                if not single:
                    yield matrix(blk + "ffn_gate_shexp", s.n_ff_shared, s.n_embd)
                yield matrix(blk + "ffn_up_shexp", s.n_ff_shared, s.n_embd)
                yield matrix(blk + "ffn_down_shexp", s.n_embd, s.n_ff_shared, 1.5)
            if s.choice_bias:
                yield blk + "exp_probs_b.bias", bell(blk + "exp_probs_b", seed, (s.n_expert,), 0.25)
            if s.n_shared:
                yield matrix(blk + "ffn_gate_shexp", s.n_shared * s.n_ff, s.n_embd)
                yield matrix(blk + "ffn_up_shexp", s.n_shared * s.n_ff, s.n_embd)
                yield matrix(blk + "ffn_down_shexp", s.n_embd, s.n_shared * s.n_ff, 1.5)
            if s.expert_bias:
                yield bias(blk + "ffn_gate_inp", s.n_expert)
                for part, n_out in (("gate", s.n_ff), ("up", s.n_ff), ("down", s.n_embd)):
                    yield bias(blk + f"ffn_{part}_exps", s.n_expert, n_out)
        else:
            n_ff = s.n_ff_dense or s.n_ff
            if not s.fused and not single:
                yield matrix(blk + "ffn_gate", n_ff, s.n_embd)
            yield matrix(blk + "ffn_up", n_ff * (2 if s.fused else 1), s.n_embd)
            yield matrix(blk + "ffn_down", s.n_embd, n_ff, 1.5)
        if s.post_norm:
            yield norm(blk + "post_ffw_norm", s.n_embd, s.post_norm_gain)


# ---------------------------------------------------------------- metadata

FILE_TYPES = {  # general.file_type, llama.cpp's enum of mixes; information only
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K": 12,
    "Q4_K": 15,
    "Q5_K": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "BF16": 32,
    "MXFP4": 38,
    "NVFP4": 39,
    "Q1_0": 40,
    "Q2_0": 41,
    "TQ1_0": 36,
    "TQ2_0": 37,
    "IQ3_XXS": 23,
    "IQ3_S": 26,
    "IQ2_XXS": 19,
    "IQ2_XS": 20,
    "IQ2_S": 28,
    "IQ1_S": 24,
    "IQ1_M": 31,
}


def _metadata(s: Shape, wtype: str) -> dict[str, gf.Value]:
    a = s.arch

    def count(name: str) -> gf.Value:
        return gf.u32s([layer[name] for layer in s.layers]) if s.layers else gf.u32(getattr(s, name))

    meta = {
        "general.architecture": gf.string(a),
        # Not the variant's name: llama.cpp looks for "phi3" and others in it and then demands real tokenizers.
        "general.name": gf.string("flyball referee"),
        "general.file_type": gf.u32(FILE_TYPES[wtype]),
        "general.quantization_version": gf.u32(2),
        f"{a}.context_length": gf.u32(s.n_ctx_train),
        f"{a}.embedding_length": gf.u32(s.n_embd),
        f"{a}.block_count": gf.u32(s.n_layer + s.n_draft),
        f"{a}.feed_forward_length": gf.u32(s.n_ff_dense) if s.n_ff_dense else count("n_ff"),
        f"{a}.attention.head_count": count("n_head"),
        f"{a}.attention.head_count_kv": gf.u32(1) if s.kv_rank and s.split_keys else count("n_head_kv"),
        f"{a}.attention.layer_norm_{'' if a == 'cohere2' else 'rms_'}epsilon": gf.f32(s.rms_eps),
        f"{a}.rope.freq_base": gf.f32(s.rope_base),
        f"{a}.vocab_size": gf.u32(s.n_vocab),
    }
    optional = {
        "attention.key_length": gf.u32(s.head_dim) if s.explicit_head_dim else None,
        "attention.value_length": gf.u32(s.head_dim) if s.explicit_head_dim else None,
        "attention.sliding_window": gf.u32(s.sliding_window) if s.sliding_window else None,
        "attn_logit_softcapping": gf.f32(s.attn_softcap) if s.attn_softcap else None,
        "final_logit_softcapping": gf.f32(s.final_softcap) if s.final_softcap else None,
        "rope.freq_base_swa": gf.f32(s.rope_base_swa) if s.rope_base_swa else None,
        "embedding_scale": gf.f32(s.embedding_scale) if s.embedding_scale else None,
        "residual_scale": gf.f32(s.residual_scale) if s.residual_scale else None,
        "logit_scale": gf.f32(s.logit_scale) if s.logit_scale else None,
        "attention.scale": gf.f32(s.attention_scale) if s.attention_scale else None,
        "rope.scaling.finetuned": None if s.rotates else gf.boolean(False),
        "rope.dimension_sections": (
            gf.i32s([16, 8, 8, 0]) if "vl" in s.arch else gf.i32s([6, 5, 5, 0]) if s.arch.startswith("qwen35") else None
        ),
        "expert_shared_feed_forward_length": gf.u32(s.n_ff_shared) if s.n_ff_shared else None,
        "expert_count": gf.u32(s.n_expert) if s.n_expert else None,
        "expert_used_count": count("n_expert_used") if s.n_expert else None,
        "expert_feed_forward_length": count("n_ff") if s.n_expert else None,
        "leading_dense_block_count": gf.u32(s.n_leading_dense) if s.n_leading_dense else None,
        "expert_shared_count": gf.u32(s.n_shared) if s.n_shared else None,
        "expert_weights_scale": gf.f32(s.expert_scale) if s.expert_scale else None,
        "expert_weights_norm": None if s.expert_norm is None else gf.boolean(s.expert_norm),
        "expert_gating_func": gf.u32(s.expert_gating) if s.expert_gating else None,
        "expert_group_count": gf.u32(s.expert_groups[0]) if s.expert_groups else None,
        "expert_group_used_count": gf.u32(s.expert_groups[1]) if s.expert_groups else None,
        "nextn_predict_layers": gf.u32(s.n_draft) if s.n_draft else None,
        "rope.dimension_count_swa": gf.u32(s.rope_dims_swa) if s.rope_dims_swa else None,
        "rope.dimension_count": gf.u32(s.rope_dims) if s.rope_dims else None,
        "rope.scaling.type": gf.string(s.rope_scaling) if s.rope_scaling else None,
        "rope.scaling.factor": gf.f32(s.rope_factor) if s.rope_scaling else None,
        "rope.scaling.original_context_length": gf.u32(s.rope_original) if s.rope_original else None,
        "rope.scaling.attn_factor": gf.f32(s.rope_attn_factor) if s.rope_attn_factor else None,
        "attention.temperature_length": gf.u32(s.temperature_length) if s.temperature_length else None,
        "attention.temperature_scale": gf.f32(s.temperature_scale) if s.temperature_scale else None,
    }
    if s.delta_period or s.mamba_inner or s.short_taps:
        optional |= {key: gf.u32(n) for key, n in recurrent.numbers(s).items()}
    if a.startswith("nemotron_h"):
        optional["attention.layer_norm_epsilon"] = gf.f32(s.rms_eps)
    if s.yarn:
        for key, value in zip(("beta_fast", "beta_slow", "log_multiplier"), s.yarn, strict=True):
            optional[f"rope.scaling.yarn_{key}"] = gf.f32(value)
    if s.kv_rank:
        own = {"key_length": s.head_dim, "value_length": s.value_dim}
        if s.split_keys:
            own = {f"{key}_mla": n for key, n in own.items()}
            own |= {"key_length": s.kv_rank + s.rope_dims, "value_length": s.kv_rank}
        own |= {"kv_lora_rank": s.kv_rank} | ({"q_lora_rank": s.q_rank} if s.q_rank else {})
        optional |= {f"attention.{key}": gf.u32(n) for key, n in own.items()}
    meta.update({f"{a}.{key}": value for key, value in optional.items() if value is not None})
    if a == "gemma4":
        meta.update(gemma4.metadata(s))
    meta.update(_spm_vocabulary(s) if s.tokenizer == "spm" else _bpe_vocabulary(s))
    return meta


_NORMAL, _UNKNOWN, _CONTROL, _UNUSED, _BYTE = 1, 2, 3, 5, 6
_MERGES = ("Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "i s", "n d", "o r", "i t", "Ġa nd")


def byte_letters() -> list[str]:
    """The letter that byte-level BPE writes for each byte: itself where printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def _padded(tokens: list[str], kinds: list[int], n_vocab: int) -> tuple[list[str], list[int]]:
    if len(tokens) > n_vocab:
        raise ValueError(f"n_vocab = {n_vocab}, but the tokenizer alone has {len(tokens)} tokens")
    unused = [f"<unused{i}>" for i in range(n_vocab - len(tokens))]
    return tokens + unused, kinds + [_UNUSED] * len(unused)


def _bpe_vocabulary(s: Shape) -> dict[str, gf.Value]:
    """256 byte letters, a few merges, three control tokens."""
    tokens = byte_letters() + [merge.replace(" ", "") for merge in _MERGES]
    kinds = [_NORMAL] * len(tokens)
    bos = len(tokens)
    tokens += ["<|begin|>", "<|end|>", "<|turn|>"]
    kinds += [_CONTROL] * 3
    tokens, kinds = _padded(tokens, kinds, s.n_vocab)
    return {
        "tokenizer.ggml.model": gf.string("gpt2"),
        "tokenizer.ggml.pre": gf.string(s.tokenizer),
        "tokenizer.ggml.tokens": gf.strings(tokens),
        "tokenizer.ggml.token_type": gf.i32s(kinds),
        "tokenizer.ggml.merges": gf.strings(_MERGES),
        "tokenizer.ggml.bos_token_id": gf.u32(bos),
        "tokenizer.ggml.eos_token_id": gf.u32(bos + 1),
        "tokenizer.ggml.padding_token_id": gf.u32(bos + 1),
        "tokenizer.ggml.add_bos_token": gf.boolean(s.tokenizer != "qwen2"),
    }


def _spm_vocabulary(s: Shape) -> dict[str, gf.Value]:
    """Three control tokens, 256 byte tokens, then pieces in order of falling score."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256
    scores = [0.0] * len(tokens)
    pieces = [merge.replace(" ", "").replace("Ġ", "▁") for merge in _MERGES]
    pieces += ["▁", *"abcdefghijklmnopqrstuvwxyzTHEI.,!?'", "é", "世"]
    tokens += pieces
    kinds += [_NORMAL] * len(pieces)
    scores += [-1.0 - i for i in range(len(pieces))]
    tokens, kinds = _padded(tokens, kinds, s.n_vocab)
    scores += [0.0] * (s.n_vocab - len(scores))
    return {
        "tokenizer.ggml.model": gf.string("llama"),
        "tokenizer.ggml.tokens": gf.strings(tokens),
        "tokenizer.ggml.scores": gf.f32s(scores),
        "tokenizer.ggml.token_type": gf.i32s(kinds),
        "tokenizer.ggml.bos_token_id": gf.u32(1),
        "tokenizer.ggml.eos_token_id": gf.u32(2),
        "tokenizer.ggml.unknown_token_id": gf.u32(0),
        "tokenizer.ggml.add_bos_token": gf.boolean(True),
        "tokenizer.ggml.add_eos_token": gf.boolean(False),
        "tokenizer.ggml.add_space_prefix": gf.boolean(not s.arch.startswith("gemma")),
    }


def write_split(folder: Path) -> list[Path]:
    """A small llama in two files."""
    shape = VARIANTS["llama"]
    tensors = [_tensor(name, values, "Q8_0") for name, values in weights(shape, 1)]
    half = len(tensors) // 2
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, part in enumerate((tensors[:half], tensors[half:])):
        metadata = _metadata(shape, "Q8_0") if i == 0 else {}
        metadata |= {"split.no": gf.Value(2, struct.pack("<H", i))}
        metadata |= {"split.count": gf.Value(2, struct.pack("<H", 2))}
        metadata |= {"split.tensors.count": gf.Value(5, struct.pack("<i", len(tensors)))}
        paths.append(folder / f"model-{i + 1:05}-of-00002.gguf")
        gf.write_gguf(paths[-1], metadata, part)
    return paths


def main(argv: Sequence[str] | None = None) -> None:
    """Write a chosen set; without a choice, every variant in F32 and Q8_0, and llama in every type."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.models", description=main.__doc__)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--arch", nargs="+", choices=VARIANTS, metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--type", nargs="+", choices=TYPES, metavar="TYPE", help=", ".join(TYPES))
    parser.add_argument("--all", action="store_true", help="every variant in every type")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    if args.all or args.arch or args.type:
        recipes = [(a, t) for a in args.arch or VARIANTS for t in args.type or TYPES]
    else:
        recipes = [(a, t) for a in VARIANTS for t in ("F32", "Q8_0")]
        recipes += [("llama", t) for t in TYPES if t not in ("F32", "Q8_0")]
    args.outdir.mkdir(parents=True, exist_ok=True)
    for arch, wtype in recipes:
        spec = write_model(args.outdir / f"{arch}-{wtype.lower()}.gguf", arch, wtype, seed=args.seed)
        print(spec.sha256, spec.path)


if __name__ == "__main__":
    main()
