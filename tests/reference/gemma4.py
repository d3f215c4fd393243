"""Gemma 4 for the referee: its pass in float64, and the weights and metadata of its small models.

Layers slide or see all, with heads of their own number and size. The last ones may read the keys and values of an
earlier layer, and every layer may get an input of its own for each token, from a second embedding:

    h = x + post_norm(Attention(norm(x)));   x = h + post_norm(FeedForward(h))
    x += post_norm(proj(gelu(gate x) * layer_input));   x *= layer_output_scale
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import gguf_file as gf
from .forward import F64, File, Rope
from .functions import gelu_tanh, rms_norm, softcap, softmax

if TYPE_CHECKING:
    from .variants import Shape

F32 = npt.NDArray[np.float32]
Named = tuple[str, F32]


class Referee:
    """A model file, and the pass over it."""

    def __init__(self, path: Path | str) -> None:
        self.file = File(path)
        get = self.file.get
        self.n_layer: int = get("block_count", 0)
        self.n_embd: int = get("embedding_length", 0)
        self.eps: float = get("attention.layer_norm_rms_epsilon", 0.0)
        self.sliding: list[bool] = get("attention.sliding_window_pattern", [])
        self.own: int = self.n_layer - get("attention.shared_kv_layers", 0)  # layers with keys and values of their own
        self.cache: dict[int, tuple[F64, F64]] = {}

    def linear(self, name: str, x: F64) -> F64:
        y: F64 = x @ self.file.tensor(f"{name}.weight").T
        return y

    def norm(self, name: str, x: F64) -> F64:
        return rms_norm(x, self.file.tensor(f"{name}.weight"), self.eps)

    def plain_norm(self, x: F64) -> F64:
        return rms_norm(x, np.ones(1), self.eps)

    def rope(self, layer: int) -> Rope:
        suffix = "_swa" if self.sliding[layer] else ""
        n_rot: int = self.file.get(f"rope.dimension_count{suffix}", self.head_dim(layer))
        base: float = self.file.get(f"rope.freq_base{suffix}", 10000.0)
        frequency = base ** (-np.arange(0, n_rot, 2) / n_rot)
        if not self.sliding[layer]:
            frequency = frequency / self.file.tensor("rope_freqs.weight")
        return Rope(frequency, 1.0, interleaved=False)

    def head_dim(self, layer: int) -> int:
        dim: int = self.file.get("attention.key_length_swa" if self.sliding[layer] else "attention.key_length", 0)
        return dim

    def keys_and_values(self, layer: int, x: F64) -> tuple[F64, F64]:
        if layer >= self.own:
            return self.cache[self.own - (2 if self.sliding[layer] else 1)]
        blk, dim = f"blk.{layer}.", self.head_dim(layer)
        raw = self.linear(blk + "attn_k", x)
        v = self.linear(blk + "attn_v", x) if self.file.has(blk + "attn_v.weight") else raw
        k = self.norm(blk + "attn_k_norm", raw.reshape(len(x), -1, dim))
        self.cache[layer] = self.rope(layer).apply(k), self.plain_norm(v.reshape(len(x), -1, dim))
        return self.cache[layer]

    def attention(self, layer: int, x: F64) -> F64:
        blk, n, dim = f"blk.{layer}.", len(x), self.head_dim(layer)
        q = self.rope(layer).apply(self.norm(blk + "attn_q_norm", self.linear(blk + "attn_q", x).reshape(n, -1, dim)))
        k, v = self.keys_and_values(layer, x)
        distance = np.arange(n)[:, None] - np.arange(n)
        window = self.file.get("attention.sliding_window", 0) if self.sliding[layer] else n
        visible = (distance >= 0) & (distance < window)
        out = np.empty_like(q)
        for head in range(q.shape[1]):
            kv = head // (q.shape[1] // k.shape[1])
            score = q[:, head] @ k[:, kv].T  # no scale: the norms have made them small
            out[:, head] = softmax(np.where(visible, score, -np.inf)) @ v[:, kv]
        return self.linear(blk + "attn_output", out.reshape(n, -1))

    def experts(self, layer: int, x: F64, router_input: F64) -> F64:
        blk = f"blk.{layer}.ffn_"
        share = softmax(self.linear(f"{blk}gate_inp", router_input))
        down = self.file.tensor(f"{blk}down_exps.weight")
        if (scale := self.file.optional(f"{blk}down_exps.scale")) is not None:
            down = down * scale[:, None, None]
        gate, up = np.split(self.file.tensor(f"{blk}gate_up_exps.weight"), 2, axis=1)
        out = np.zeros_like(x)
        for t, token in enumerate(x):
            chosen = np.argsort(-share[t], kind="stable")[: self.file.get("expert_used_count", 0)]
            for expert in chosen:
                hidden = gelu_tanh(gate[expert] @ token) * (up[expert] @ token)
                out[t] += share[t, expert] / max(share[t, chosen].sum(), 2**-14) * (down[expert] @ hidden)
        return out

    def feed_forward(self, layer: int, h: F64) -> F64:
        blk = f"blk.{layer}."
        x = self.norm(blk + "ffn_norm", h)
        hidden = gelu_tanh(self.linear(blk + "ffn_gate", x)) * self.linear(blk + "ffn_up", x)
        out = self.linear(blk + "ffn_down", hidden)
        if not self.file.has(blk + "ffn_gate_inp.weight"):
            return out
        routed = self.plain_norm(h) / math.sqrt(self.n_embd) * self.file.tensor(blk + "ffn_gate_inp.scale")
        mixed = self.experts(layer, self.norm(blk + "pre_ffw_norm_2", h), routed)
        return self.norm(blk + "post_ffw_norm_1", out) + self.norm(blk + "post_ffw_norm_2", mixed)

    def layer_inputs(self, ids: Sequence[int], x: F64) -> F64:
        """(layers, tokens, width): zero layers where the model has none."""
        width: int = self.file.get("embedding_length_per_layer_input", 0)
        if width == 0:
            return np.empty((0,))
        own = self.linear("per_layer_model_proj", x) / math.sqrt(self.n_embd)
        own = self.norm("per_layer_proj_norm", own.reshape(len(ids), self.n_layer, width))
        table = self.file.tensor("per_layer_token_embd.weight")[np.asarray(ids)] * math.sqrt(width)
        return np.swapaxes((own + table.reshape(own.shape)) / math.sqrt(2), 0, 1)

    def logits(self, ids: Sequence[int]) -> F64:
        """The logits after each position, (tokens, vocabulary)."""
        embedding = self.file.tensor("token_embd.weight")
        x = embedding[np.asarray(ids)] * math.sqrt(self.n_embd)
        inputs = self.layer_inputs(ids, x)
        for layer in range(self.n_layer):
            blk = f"blk.{layer}."
            h = x + self.norm(blk + "post_attention_norm", self.attention(layer, self.norm(blk + "attn_norm", x)))
            x = h + self.norm(blk + "post_ffw_norm", self.feed_forward(layer, h))
            if len(inputs):
                gated = gelu_tanh(self.linear(blk + "inp_gate", x)) * inputs[layer]
                x = x + self.norm(blk + "post_norm", self.linear(blk + "proj", gated))
            if (scale := self.file.optional(blk + "layer_output_scale.weight")) is not None:
                x = x * scale
        output = self.file.optional("output.weight")
        logits = self.norm("output_norm", x) @ (embedding if output is None else output).T
        return softcap(logits, self.file.get("final_logit_softcapping", 0.0))


# ---------------------------------------------------------------- small models


def weights(model: Shape, seed: int, bell: Callable[[str, int, tuple[int, ...], float], F32]) -> Iterable[Named]:
    """Names and values in file order; `bell` draws a tensor."""

    def matrix(name: str, n_out: int, n_in: int, gain: float = 1.0) -> Named:
        return f"{name}.weight", bell(f"{name}.weight", seed, (n_out, n_in), gain / math.sqrt(n_in))

    def experts(name: str, n_out: int, n_in: int, gain: float = 1.0) -> Named:
        shape = (model.n_expert, n_out, n_in)
        return f"{name}.weight", bell(f"{name}.weight", seed, shape, gain / math.sqrt(n_in))

    def vector(name: str, n: int, gain: float = 1.0) -> Named:
        return name, (np.float32(gain) + bell(name, seed, (n,), gain / 8)).astype(np.float32)

    def norm(name: str, n: int, gain: float = 1.0) -> Named:
        return vector(f"{name}.weight", n, gain)

    n, width = model.n_embd, model.n_embd_per_layer
    yield matrix("token_embd", model.n_vocab, n, model.embedding_gain)
    yield norm("output_norm", n)
    if not model.tied:
        yield matrix("output", model.n_vocab, n, 2.0)
    if width:
        yield matrix("per_layer_token_embd", model.n_vocab, width * model.n_layer)
        yield matrix("per_layer_model_proj", width * model.n_layer, n)
        yield norm("per_layer_proj_norm", width)
    pairs = max(layer["head_dim"] for layer in model.layers if not layer["sliding"]) // 2
    yield "rope_freqs.weight", np.array([1.0] * (pairs // 4) + [1e30] * (pairs - pairs // 4), np.float32)
    for i, fields in enumerate(model.layers):
        s = replace(model, **{key: value for key, value in fields.items() if key != "sliding"})
        blk, gain = f"blk.{i}.", math.sqrt(1.5 / math.sqrt(s.head_dim))
        yield norm(blk + "attn_norm", n)
        yield matrix(blk + "attn_q", s.n_head * s.head_dim, n)
        yield norm(blk + "attn_q_norm", s.head_dim, gain)
        if i < model.n_layer - model.shared_kv:
            yield matrix(blk + "attn_k", s.n_head_kv * s.head_dim, n)
            if not s.values_are_keys:
                yield matrix(blk + "attn_v", s.n_head_kv * s.head_dim, n)
            yield norm(blk + "attn_k_norm", s.head_dim, gain)
        yield matrix(blk + "attn_output", n, s.n_head * s.head_dim)
        yield norm(blk + "post_attention_norm", n, s.post_norm_gain)
        yield norm(blk + "ffn_norm", n)
        n_ff = s.n_ff_beside or s.n_ff
        yield matrix(blk + "ffn_gate", n_ff, n)
        yield matrix(blk + "ffn_up", n_ff, n)
        yield matrix(blk + "ffn_down", n, n_ff, 1.5)
        if s.n_expert:
            yield matrix(blk + "ffn_gate_inp", s.n_expert, n, 2.0 * math.sqrt(n))
            yield vector(blk + "ffn_gate_inp.scale", n)
            yield norm(blk + "post_ffw_norm_1", n)
            yield norm(blk + "pre_ffw_norm_2", n)
            yield norm(blk + "post_ffw_norm_2", n)
            yield experts(blk + "ffn_gate_up_exps", 2 * s.n_ff, n)
            yield experts(blk + "ffn_down_exps", n, s.n_ff, 1.5)
            yield vector(blk + "ffn_down_exps.scale", s.n_expert)
        yield norm(blk + "post_ffw_norm", n, s.post_norm_gain)
        if width:
            yield matrix(blk + "inp_gate", width, n)
            yield matrix(blk + "proj", n, width)
            yield norm(blk + "post_norm", n)
        yield vector(blk + "layer_output_scale.weight", 1, 0.75)


def metadata(s: Shape) -> dict[str, gf.Value]:
    """What its files say beyond other architectures' keys."""
    sizes = {layer["sliding"]: layer["head_dim"] for layer in s.layers}
    keys = {
        "attention.key_length": gf.u32(sizes[False]),
        "attention.value_length": gf.u32(sizes[False]),
        "attention.key_length_swa": gf.u32(sizes[True]),
        "attention.value_length_swa": gf.u32(sizes[True]),
        "rope.dimension_count": gf.u32(sizes[False]),
        "rope.dimension_count_swa": gf.u32(sizes[True]),
        "attention.sliding_window_pattern": gf.booleans([layer["sliding"] for layer in s.layers]),
        "attention.shared_kv_layers": gf.u32(s.shared_kv),
        "embedding_length_per_layer_input": gf.u32(s.n_embd_per_layer),
    }
    if s.n_expert:
        keys["feed_forward_length"] = gf.u32(s.n_ff_beside)
        keys["expert_feed_forward_length"] = gf.u32(s.layers[0]["n_ff"])
        keys["expert_used_count"] = gf.u32(s.n_expert_used)
    return {f"gemma4.{key}": value for key, value in keys.items()}
