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

from . import gemma3n, gemma4, recurrent
from . import gguf_file as gf
from .grid_quants import ENCODERS as GRID_TYPES
from .quants import quantize
from .variants import VARIANTS, Shape

F32 = npt.NDArray[np.float32]


_UNREADABLE_TYPES = ("Q1_0", "Q2_0")  # by the `gguf` package, and so by the referee
TYPES: tuple[str, ...] = tuple(t for t in gf.TENSOR_TYPES if t not in _UNREADABLE_TYPES)


def types_of(variant: str) -> tuple[str, ...]:
    """The types that a variant's bits are tested in: what is rare, in two of them and where its files have it."""
    if variant in ("llama", "qwen3"):
        return tuple(gf.TENSOR_TYPES)
    own = ("MXFP4",) if variant == "gpt-oss" else ()
    return tuple(t for t in TYPES if t in own or t not in _RARE_TYPES)


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
    is_small = any(part in name for part in ("ffn_gate_inp", "altup_", "laurel_")) or name.endswith(
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
    if s.arch in ("gemma3n", "gemma4"):
        yield from (gemma4 if s.arch == "gemma4" else gemma3n).weights(s, seed, bell)
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
        if s.n_expert and layer >= s.n_leading_dense and (layer + 1) % (s.expert_step or 1) == 0:
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
        "interleave_moe_layer_step": gf.u32(s.expert_step) if s.expert_step else None,
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
    if a in ("gemma3n", "gemma4"):
        meta.update((gemma4 if a == "gemma4" else gemma3n).metadata(s))
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
