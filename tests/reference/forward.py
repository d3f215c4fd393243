"""The reference forward pass: float64, one page of mathematics, slow and clear on purpose.

`logits(path, ids)` reads a GGUF file, dequantises its weights exactly and computes every position's logits without
any further approximation: activations are not quantised, keys and values are not rounded. What a runtime's logits
differ from these by is that runtime's own error.

One decoder serves all architectures; `describe` says from the file's metadata in what they differ:

    x = embedding * embedding_scale
    per layer:  x += [post_norm] Attention(norm(x));   x += [post_norm] FeedForward(norm(x))
    logits = [softcap] output(norm(x))

Facts about metadata and defaults: llama.cpp's src/llama-model.cpp, src/llama-context.cpp and src/models/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import gguf
import numpy as np
import numpy.typing as npt

from .functions import geglu, relu_squared, rms_norm, softcap, softmax, swiglu, swiglu_clamped, yarn_blend
from .latent import latent_attention
from .recurrent import mixer_of
from .routing import Routing, read_routing, route

F64 = npt.NDArray[np.float64]

ARCHITECTURES = (
    *("llama", "qwen2", "qwen2vl", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3"),
    *("smollm3", "seed_oss", "granite", "ernie4_5", "qwen35", "qwen35moe", "qwen3next"),
    *("granitemoe", "olmo2", "exaone4", "cohere2", "hunyuan-dense", "hunyuan-moe", "gemma4"),
    *("mistral3", "gpt-oss", "glm4moe", "minimax-m2", "phimoe", "deepseek2", "afmoe", "muse-glimmer", "laguna"),
    *("lfm2", "lfm2moe", "granitehybrid", "nemotron_h", "nemotron_h_moe", "ernie4_5-moe", "llama4", "gemma3n"),
)
_GRANITES = ("granite", "granitemoe", "granitehybrid")
_DELTA_NETS = ("qwen35", "qwen35moe", "qwen3next")
_LFM2 = ("lfm2", "lfm2moe")
_NEMOTRON = ("nemotron_h", "nemotron_h_moe")
_BY_PLACE = ("seed_oss", "gpt-oss", "glm4moe", *_DELTA_NETS)  # name the feed-forward's norm by its place
# Pairs (2i, 2i+1) rotate.
_PAIRED = (
    *("llama", "smollm3", *_GRANITES, "ernie4_5", "ernie4_5-moe", "cohere2", "mistral3", "deepseek2"),
    *("muse-glimmer", "llama4"),
)


class Adapter:
    """A LoRA adapter's file: what it adds to a matrix, scale * B A."""

    def __init__(self, path: Path | str, scale: float = 1.0) -> None:
        reader = gguf.GGUFReader(path)
        self._scale = scale
        alpha = reader.get_field("adapter.lora.alpha")
        self._alpha: float = alpha.contents() if alpha else 0.0
        self._tensors = {
            tensor.name: np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float64)
            for tensor in reader.tensors
        }

    def change(self, name: str) -> F64 | float:
        """Of an embedding, whose A is looked up by token, the change is transposed."""
        if f"{name}.lora_a" not in self._tensors:
            return 0.0
        a, b = self._tensors[f"{name}.lora_a"], self._tensors[f"{name}.lora_b"]
        scale = self._scale * (self._alpha / b.shape[-1] if self._alpha else 1.0)
        return np.asarray(scale * (b @ (np.swapaxes(a, -1, -2) if name == "token_embd.weight" else a)))


class File:
    """A GGUF file's metadata by key, and its tensors in float64 by name."""

    def __init__(self, path: Path | str, adapter: Adapter | None = None) -> None:
        self._adapter = adapter
        self._reader = gguf.GGUFReader(path)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self._float64: dict[str, F64] = {}
        self.arch: str = self._value("general.architecture", "")
        if self.arch not in ARCHITECTURES:
            raise ValueError(f"{path}: general.architecture = {self.arch!r}; the referee knows {ARCHITECTURES}")

    def _value(self, key: str, default: Any) -> Any:
        entry = self._reader.get_field(key)
        return default if entry is None else entry.contents()

    def get(self, key: str, default: Any) -> Any:
        """The value of `{arch}.{key}`."""
        return self._value(f"{self.arch}.{key}", default)

    def per_layer(self, key: str, default: Any) -> Any:
        """The value of `{arch}.{key}` for each layer, of which the file says one for all or one for each."""
        value = self.get(key, default)
        return value if isinstance(value, list) else [value] * self.get("block_count", 0)

    def has(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str) -> F64:
        """Matrices as (rows, columns): y = W x has `rows` elements. Kept once made: the models are small."""
        if name not in self._float64:
            tensor = self._tensors[name]
            self._float64[name] = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float64)
            if self._adapter and name != "token_embd.weight":
                # What an adapter adds is not scaled with the matrix.
                scale = self.optional(f"{name.removesuffix('weight')}scale")
                factor = 1.0 if scale is None else scale.reshape(-1, *[1] * (self._float64[name].ndim - 1))
                self._float64[name] = self._float64[name] + self._adapter.change(name) / factor
        return self._float64[name]

    def embedding(self) -> F64:
        """The embedding that tokens are looked up in; a tied output's stays as it is."""
        changed = self._adapter.change("token_embd.weight") if self._adapter else 0.0
        return self.tensor("token_embd.weight") + (changed if isinstance(changed, float) else changed.T)

    def optional(self, name: str) -> F64 | None:
        return self.tensor(name) if self.has(name) else None


# ---------------------------------------------------------------- description


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of one kind of layer.

    Pair i of the first `n_rot` dimensions turns by position * frequency[i]; `interleaved` pairs are (2i, 2i+1),
    the others (NEOX) are (i, i + n_rot/2). `magnitude` multiplies sine and cosine.
    """

    frequency: F64
    magnitude: float
    interleaved: bool

    def apply(self, x: F64) -> F64:
        """Rotate x of shape (tokens, heads, head_dim), positions 0, 1, 2, ..."""
        n_rot = 2 * len(self.frequency)
        angle = np.arange(len(x))[:, None, None] * self.frequency
        cos, sin = np.cos(angle) * self.magnitude, np.sin(angle) * self.magnitude
        first = slice(0, n_rot, 2) if self.interleaved else slice(0, n_rot // 2)
        second = slice(1, n_rot, 2) if self.interleaved else slice(n_rot // 2, n_rot)
        a, b = x[..., first], x[..., second]
        y = x.copy()  # dimensions from n_rot on pass through
        y[..., first] = a * cos - b * sin
        y[..., second] = a * sin + b * cos
        return y


def _rope(file: File, head_dim: int, base: float, factor: float, n_ctx: int) -> Rope:
    n_rot: int = file.get("rope.dimension_count", head_dim)
    original: int = file.get("rope.scaling.original_context_length", file.get("context_length", 0))
    frequency = base ** (-np.arange(0, n_rot, 2) / n_rot)
    magnitude: float = file.get("rope.scaling.attn_factor", 1.0)

    # Per-pair divisors: Llama 3.1's one tensor, or Phi-3's two, chosen by the size of the context, not by position.
    length = "long" if n_ctx > original else "short"
    for name in ("rope_freqs.weight", f"rope_factors_{length}.weight"):
        if file.has(name) and file.arch in ("llama", "llama4", "mistral3", "phi3", "phimoe", "exaone4"):
            frequency = frequency / file.tensor(name)
            break

    kind = file.get("rope.scaling.type", "linear")
    if kind == "yarn":
        chosen = file.arch == "mistral3"  # others have the defaults, whatever their keys say
        ends = (("fast", 32.0), ("slow", 1.0))
        betas = [file.get(f"rope.scaling.yarn_beta_{end}", turns) if chosen else turns for end, turns in ends]
        keep = yarn_blend(n_rot, base, original, *betas)
        frequency = frequency * (keep + (1 - keep) / factor)
        multiplier = file.get("rope.scaling.yarn_log_multiplier", 0.0)
        if not chosen and file.arch != "deepseek2":
            multiplier = 0.0
        # deepseek2's scores grow instead, see latent_attention().
        if factor > 1 and not (file.arch == "deepseek2" and multiplier):
            magnitude *= (1 + 0.1 * math.log(factor)) / (1 + 0.1 * multiplier * math.log(factor))
    elif kind != "none":
        frequency = frequency / factor
    return Rope(frequency, magnitude, interleaved=file.arch in _PAIRED)


def _temperature(file: File) -> tuple[float, int, int]:
    if file.arch == "llama4":
        return 0.1, 8192, 1
    scale: float = file.get("attention.temperature_scale", 0.0) if file.arch in ("mistral3", "deepseek2") else 0.0
    length: int = file.get("attention.temperature_length", 0) or 1
    if file.arch == "mistral3":
        length = file.get("rope.scaling.original_context_length", file.get("context_length", 0))
    return scale, length, 0


@dataclass(frozen=True)
class Description:
    """Everything but the weights. Layers that slide see `window` keys, their own included, and use `rope_sliding`."""

    n_layer: int
    n_head: Sequence[int]
    n_head_kv: Sequence[int]
    head_dim: int
    eps: float
    post_eps: float  # of the norms after attention and feed-forward
    embedding_scale: float
    attention_scale: float
    temperature: tuple[float, int, int]  # queries times 1 + scale ln(1 + floor((position + first) / length))
    activation: Callable[[F64, F64], F64]  # of gate and up
    attention_cap: float  # 0: none
    final_cap: float  # 0: none
    window: int  # 0: no layer slides
    sliding: Sequence[bool]
    rotates: Sequence[bool]
    residual_scale: float
    logit_scale: float  # divides
    rope_full: Rope
    rope_sliding: Rope
    routing: Routing
    ffn_norm: str


def describe(file: File, n_ctx: int) -> Description:
    gemma = file.arch in ("gemma2", "gemma3")
    n_layer: int = file.get("block_count", 0) - file.get("nextn_predict_layers", 0)
    n_embd: int = file.get("embedding_length", 0)
    n_head: list[int] = file.per_layer("attention.head_count", 0)
    head_dim: int = file.get("attention.key_length", n_embd // n_head[0])
    base: float = file.get("rope.freq_base", 10000.0)
    factor: float = file.get("rope.scaling.factor", file.get("rope.scale_linear", 0.0)) or 1.0

    # The 27B models alone scale by the width per head instead of the head's own width.
    width = n_embd // n_head[0] if (file.arch, n_layer) in (("gemma2", 46), ("gemma3", 62)) else head_dim
    scale = 1 / math.sqrt(width)
    if file.arch in ("llama", *_GRANITES, *_NEMOTRON):
        scale = file.get("attention.scale", 0.0) or scale
    granite, muse = file.arch in _GRANITES, file.arch == "muse-glimmer"

    def granites(key: str) -> float:
        return (granite and file.get(key, 0.0)) or 1.0

    rotates = [file.arch not in ("smollm3", "afmoe", "llama4") or layer % 4 != 3 for layer in range(n_layer)]
    unrotated = file.arch in ("granite", "granitehybrid") and not file.get("rope.scaling.finetuned", True)
    if unrotated or file.arch in _NEMOTRON:
        rotates = [False] * n_layer

    window, period = 0, 1
    base_sliding, factor_sliding = base, factor
    if file.arch == "gemma2":
        window, period = file.get("attention.sliding_window", 4096), 2
        base_sliding = file.get("rope.freq_base_swa", base)
    if file.arch == "gemma3":  # its linear scaling concerns full layers only
        window, period = file.get("attention.sliding_window", 0), 6
        base_sliding, factor_sliding = file.get("rope.freq_base_swa", 10000.0), 1.0
    if file.arch in ("olmo2", "cohere2") or (file.arch == "exaone4" and n_layer == 64):
        window, period = file.get("attention.sliding_window", 4096 if file.arch == "exaone4" else 0), 4
    if file.arch == "hunyuan-dense" and (alpha := file.get("rope.scaling.alpha", 0.0)):
        base *= alpha ** (head_dim / (head_dim - 2))
    if file.arch in ("afmoe", "muse-glimmer", "laguna"):
        window, period = file.get("attention.sliding_window", 0), 4
        base_sliding = file.get("rope.freq_base_swa", base)
    if file.arch == "llama4":  # a chunk's length, whatever the key says
        window, period = 8192, 4
        base_sliding = file.get("rope.freq_base_swa", base)
    if file.arch == "gpt-oss":
        window, period = file.get("attention.sliding_window", 0), 2
        base_sliding = file.get("rope.freq_base_swa", base)
    pattern = file.get("attention.sliding_window_pattern", period)
    if isinstance(pattern, int):
        full = 0 if file.arch == "laguna" else pattern - 1  # of a period, the layer that does not slide
        pattern = [pattern == 0 or layer % pattern != full for layer in range(n_layer)]

    sliding = [window > 0 and slides for slides in pattern]
    rope_sliding = _rope(file, head_dim, base_sliding, factor_sliding, n_ctx)
    if file.arch in ("olmo2", "laguna"):  # YaRN concerns full layers only
        n: int = file.get("rope.dimension_count_swa", file.get("rope.dimension_count", head_dim))
        rope_sliding = replace(rope_sliding, frequency=base_sliding ** (-np.arange(0, n, 2) / n), magnitude=1.0)
    if file.arch in ("cohere2", "muse-glimmer") or (file.arch == "exaone4" and window):
        rotates = sliding
    eps = file.get(f"attention.layer_norm_{'' if file.arch == 'cohere2' else 'rms_'}epsilon", 0.0)
    activation: Callable[[F64, F64], F64] = geglu if gemma else swiglu
    if file.arch == "gpt-oss":
        activation = swiglu_clamped
    if file.arch in _NEMOTRON:
        activation = relu_squared
    return Description(
        n_layer=n_layer,
        n_head=n_head,
        n_head_kv=file.per_layer("attention.head_count_kv", n_head),
        head_dim=head_dim,
        eps=eps,
        post_eps=1e-8 if muse else eps,
        embedding_scale=math.sqrt(n_embd) if gemma or file.arch == "afmoe" else granites("embedding_scale"),
        residual_scale=granites("residual_scale"),
        logit_scale=1 / file.get("logit_scale", 1.0) if muse or file.arch == "cohere2" else granites("logit_scale"),
        rotates=rotates,
        attention_scale=scale,
        temperature=_temperature(file),
        activation=activation,
        attention_cap=file.get("attn_logit_softcapping", 50.0) if file.arch == "gemma2" else 0.0,
        final_cap=file.get("final_logit_softcapping", 30.0 if file.arch == "gemma2" else 0.0) if gemma or muse else 0.0,
        window=window,
        sliding=sliding,
        rope_full=_rope(file, head_dim, base, factor, n_ctx),
        rope_sliding=rope_sliding,
        routing=read_routing(file.arch, file.get),
        ffn_norm="post_attention_norm" if file.arch in _BY_PLACE else "ffn_norm",
    )


# ---------------------------------------------------------------- the pass


@dataclass
class Referee:
    """A model file, and the pass over it. `n_ctx` is the context's size, which Phi-3's rotation depends on."""

    path: Path | str
    n_ctx: int = 512
    adapter: Adapter | None = None
    file: File = field(init=False)
    d: Description = field(init=False)

    def __post_init__(self) -> None:
        self.file = File(self.path, self.adapter)
        self.d = describe(self.file, self.n_ctx)

    def matrix(self, name: str) -> F64:
        """Of (n_experts, rows, columns) for experts, which have a scale each."""
        scale = self.file.optional(f"{name}.scale")
        weight = self.file.tensor(f"{name}.weight")
        return weight if scale is None else weight * scale.reshape(-1, *[1] * (weight.ndim - 1))

    def linear(self, name: str, x: F64) -> F64:
        y: F64 = x @ self.matrix(name).T
        bias = self.file.optional(f"{name}.bias")
        return y if bias is None else y + bias

    def norm(self, name: str, x: F64, eps: float | None = None) -> F64:
        """RMS norm by the named weight, plus its bias; x unchanged where the file has no such norm."""
        weight, bias = self.file.optional(f"{name}.weight"), self.file.optional(f"{name}.bias")
        if weight is None:
            return x
        if self.file.arch == "cohere2":  # a layer norm
            x = x - x.mean(axis=-1, keepdims=True)
        y = rms_norm(x, weight, self.d.eps if eps is None else eps)
        return y if bias is None else y + bias

    def norm_heads(self, name: str, x: F64) -> F64:
        """Of x (tokens, heads, head_dim) each head, or all heads of a token as one row if the weight is so long."""
        weight = self.file.optional(f"{name}.weight")
        whole = weight is not None and weight.size != x.shape[-1]
        return self.norm(name, x.reshape(len(x), -1) if whole else x).reshape(x.shape)

    def attention(self, layer: int, x: F64) -> F64:
        d, blk, n = self.d, f"blk.{layer}.", len(x)
        recurrent = mixer_of(self, layer)
        if recurrent:
            return recurrent(layer, x)
        gated = self.file.arch in _DELTA_NETS  # the query's rows are, of each head, a query and a gate
        n_head, n_head_kv = d.n_head[layer], d.n_head_kv[layer]
        sizes = [n_head, n_head_kv, n_head_kv]
        if self.file.has(blk + "attn_qkv.weight"):
            edges = np.cumsum(sizes)[:2] * d.head_dim
            parts = np.split(self.linear(blk + "attn_qkv", x), edges, axis=-1)
        else:
            parts = [self.linear(blk + name, x) for name in ("attn_q", "attn_k", "attn_v")]
        if gated:
            both = parts[0].reshape(n, n_head, 2, d.head_dim)
            parts[0], gate = both[:, :, 0], both[:, :, 1]
        q, k, v = (part.reshape(n, heads, d.head_dim) for part, heads in zip(parts, sizes, strict=True))

        rope = d.rope_sliding if d.sliding[layer] else d.rope_full
        late = self.file.arch.startswith("hunyuan")  # norms after rotation
        if d.rotates[layer] and late:
            q, k = rope.apply(q), rope.apply(k)
        q, k = self.norm_heads(blk + "attn_q_norm", q), self.norm_heads(blk + "attn_k_norm", k)
        if d.rotates[layer] and not late:
            q, k = rope.apply(q), rope.apply(k)
        llama4 = self.file.arch == "llama4"
        if d.rotates[layer] and llama4 and self.file.get("expert_count", 0) != 128:
            q, k = (rms_norm(x, np.ones(d.head_dim), d.eps) for x in (q, k))
        warmth, length, first = d.temperature
        if not (llama4 and d.rotates[layer]):
            q = q * (1 + warmth * np.log(1 + (np.arange(n) + first) // length))[:, None, None]

        distance = np.arange(n)[:, None] - np.arange(n)  # of key (column) behind query (row)
        near = np.arange(n) >= np.arange(n)[:, None] // d.window * d.window if llama4 else distance < d.window
        visible = (distance >= 0) & (near | (not d.sliding[layer]))
        sinks = self.file.optional(blk + "attn_sinks.weight")
        out = np.empty((n, n_head, d.head_dim))
        for head in range(n_head):
            kv = head // (n_head // n_head_kv)
            score = softcap(q[:, head] @ k[:, kv].T * d.attention_scale, d.attention_cap)
            score = np.where(visible, score, -np.inf)
            if sinks is not None:  # a key without a value
                score = np.concatenate([score, np.full((n, 1), sinks[head])], axis=-1)
            out[:, head] = softmax(score)[:, :n] @ v[:, kv]
        if gated:
            out /= 1 + np.exp(-gate)
        attended: F64 = out.reshape(n, -1)
        if self.file.has(blk + "attn_gate.weight"):
            gate = self.linear(blk + "attn_gate", x)
            laguna = self.file.arch == "laguna"  # of each element, or of each head
            factor = np.log1p(np.exp(gate)) if laguna else 1 / (1 + np.exp(-gate))
            attended = attended * factor.repeat(attended.shape[-1] // gate.shape[-1], axis=-1)
        return self.linear(blk + "attn_output", attended)

    def experts(self, layer: int, x: F64) -> F64:
        """The chosen experts' outputs by their weights."""
        blk = f"blk.{layer}.ffn_"
        down = self.matrix(f"{blk}down_exps")
        if self.file.has(f"{blk}gate_up_exps.weight"):
            gate, up = np.split(self.matrix(f"{blk}gate_up_exps"), 2, axis=1)
        else:
            up = self.matrix(f"{blk}up_exps")
            gate = self.matrix(f"{blk}gate_exps") if self.file.has(f"{blk}gate_exps.weight") else up
        biases = [self.file.optional(f"{blk}{name}_exps.bias") for name in ("gate", "up", "down")]
        out = np.zeros_like(x)
        logits = self.linear(blk + "gate_inp", x)
        n_used = self.file.per_layer("expert_used_count", 0)[layer]
        routed = route(self.d.routing, n_used, logits, self.file.optional(f"blk.{layer}.exp_probs_b.bias"))
        for t, (chosen, weights) in enumerate(zip(*routed, strict=True)):
            for expert, weight in zip(chosen, weights, strict=True):
                gate_bias, up_bias, down_bias = (0 if bias is None else bias[expert] for bias in biases)
                token = x[t]
                if self.d.routing.of_inputs:
                    token, weight = weight * token, 1.0
                hidden = self.d.activation(gate[expert] @ token + gate_bias, up[expert] @ token + up_bias)
                out[t] += weight * (down[expert] @ hidden + down_bias)
        if self.file.has(blk + "up_shexp.weight"):  # one for all tokens
            up_shared = self.linear(blk + "up_shexp", x)
            gate_shared = self.linear(blk + "gate_shexp", x) if self.file.has(blk + "gate_shexp.weight") else up_shared
            hidden = self.d.activation(gate_shared, up_shared)
            y = self.linear(blk + "down_shexp", hidden)
            if self.file.has(blk + "gate_inp_shexp.weight"):
                y /= 1 + np.exp(-x @ self.file.tensor(blk + "gate_inp_shexp.weight").reshape(-1, 1))
            out += y
        return out

    def feed_forward(self, layer: int, x: F64) -> F64:
        blk = f"blk.{layer}."
        if self.file.has(blk + "ffn_gate_inp.weight"):
            return self.experts(layer, x)
        up = self.linear(blk + "ffn_up", x)
        gate = up
        if self.file.has(blk + "ffn_gate.weight"):
            gate = self.linear(blk + "ffn_gate", x)
        elif self.d.activation is not relu_squared:
            gate, up = np.split(up, 2, axis=-1)
        return self.linear(blk + "ffn_down", self.d.activation(gate, up))

    def logits(self, ids: Sequence[int]) -> F64:
        """The logits after each position, (tokens, vocabulary)."""
        embedding = self.file.tensor("token_embd.weight")
        x = self.file.embedding()[np.asarray(ids)] * self.d.embedding_scale
        if self.file.arch == "muse-glimmer":
            x = rms_norm(x, np.ones(x.shape[-1]), self.d.eps)
        for layer in range(self.d.n_layer):
            blk = f"blk.{layer}."
            if self.file.arch in _NEMOTRON:  # a layer is one block
                inner = self.file.has(blk + "ffn_down.weight") or self.file.has(blk + "ffn_gate_inp.weight")
                x = x + (self.feed_forward if inner else self.attention)(layer, self.norm(blk + "attn_norm", x))
                continue
            latent = self.file.arch == "deepseek2"
            attend = partial(latent_attention, self) if latent else self.attention
            y = attend(layer, self.norm(blk + "attn_norm", x))
            if self.file.arch == "cohere2":  # both read the same norm
                x = x + y + self.feed_forward(layer, self.norm(blk + "attn_norm", x))
                continue
            if self.d.ffn_norm != "post_attention_norm":
                y = self.norm(blk + "post_attention_norm", y, self.d.post_eps)
            x = x + y * self.d.residual_scale
            y = self.feed_forward(layer, self.norm(blk + self.d.ffn_norm, x))
            x = x + self.norm(blk + "post_ffw_norm", y, self.d.post_eps) * self.d.residual_scale
        x = self.norm("token_embd_norm" if self.file.arch in _LFM2 else "output_norm", x)
        tied = self.file.arch in ("gemma2", "cohere2") or not self.file.has("output.weight")
        logits = x @ embedding.T if tied else self.linear("output", x)
        return softcap(logits / self.d.logit_scale, self.d.final_cap)


class HasLogits(Protocol):
    """The pass over a file."""

    def logits(self, ids: Sequence[int]) -> F64:
        """The logits after each position, (tokens, vocabulary)."""


def referee(path: Path | str, n_ctx: int = 512, adapter: Adapter | None = None) -> HasLogits:
    """The pass of the file's architecture: layers of Gemma 3n and 4 differ too much from others to share a page."""
    from . import gemma3n, gemma4  # which build on this module

    own = {"gemma3n": gemma3n.Referee, "gemma4": gemma4.Referee}
    arch = File(path).arch
    return own[arch](path) if arch in own else Referee(path, n_ctx, adapter)


def logits(path: Path | str, ids: Sequence[int], n_ctx: int = 512, adapter: Adapter | None = None) -> F64:
    """Every position's logits, float64 (len(ids), n_vocab), in a context of `n_ctx` tokens."""
    found: F64 = referee(path, n_ctx, adapter).logits(ids)
    return found
