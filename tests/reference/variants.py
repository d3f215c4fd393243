"""The small models of the tests: what each variant of an architecture is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


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
    expert_step: int = 0  # of the layers, every such one alone has experts; 0: key absent
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
    n_embd_per_layer: int = 0  # gemma3n, gemma4: of a second embedding, for each layer
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
    "llama4": replace(
        _LLAMA,
        arch="llama4",
        n_layer=5,
        head_dim=128,
        n_head=4,
        explicit_head_dim=True,
        rope_base=500000.0,
        rope_freqs=True,
        n_ff=256,
        n_ff_dense=512,
        n_ff_shared=256,
        expert_step=2,
        n_expert=8,
        n_expert_used=1,
        n_vocab=341,
    ),
    "ernie4_5-moe": replace(
        _LLAMA,
        arch="ernie4_5-moe",
        n_layer=3,
        n_ff=256,
        n_ff_dense=512,
        n_leading_dense=1,
        expert_step=1,
        n_expert=8,
        n_expert_used=3,
        n_ff_shared=256,
        choice_bias=True,
        n_vocab=341,
    ),
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
    "gemma3n": replace(
        _GEMMA,
        arch="gemma3n",
        n_layer=22,  # llama.cpp has 20 with caches of their own
        n_ff=256,
        n_head=2,
        n_head_kv=1,
        head_dim=64,
        qk_norm=True,
        n_embd_per_layer=256,
        rope_base=1000000.0,
        rope_base_swa=10000.0,
        final_softcap=30.0,
        post_norm_gain=1.0,
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
