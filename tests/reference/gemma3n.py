"""Gemma 3n for the referee: its pass in float64, and the weights and metadata of its small models.

The residual has four streams (AltUp), of which layers compute the first; attention has a branch of low rank beside it
(Laurel); the gates of the first layers keep their largest values. The rest is Gemma 4's:

    s' = s + P(s_0) s
    h  = (s'_0 + post_norm(Attention(a)) + a + norm(R L a)) / sqrt 2,   a = norm(s'_0)
    y  = h + post_norm(FeedForward(norm(h)))
    s  = s' + (1 + C(y)) (y - s'_0)
    s_1.. += post_norm(proj(gelu(gate (scale s_0)) * layer_input))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import gemma4
from . import gguf_file as gf
from .forward import F64, Rope
from .functions import gelu_tanh, softcap

if TYPE_CHECKING:
    from .variants import Shape

F32 = npt.NDArray[np.float32]
Named = tuple[str, F32]

N_OWN = 20  # layers with keys and values of their own, whatever the file says
RANK = 64
DEVIATIONS = 1.6448533535003662


class Referee(gemma4.Referee):
    """A model file, and the pass over it."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        period = 5
        self.sliding = self.sliding or [layer % period != period - 1 for layer in range(self.n_layer)]
        self.own = min(self.n_layer, N_OWN)

    def rope(self, layer: int) -> Rope:
        dim, sliding = self.head_dim(layer), self.sliding[layer]
        base: float = self.file.get("rope.freq_base_swa" if sliding else "rope.freq_base", 10000.0)
        return Rope(base ** (-np.arange(0, dim, 2) / dim), 1.0, interleaved=False)

    def head_dim(self, layer: int) -> int:
        dim: int = self.file.get("attention.key_length", self.n_embd // self.file.get("attention.head_count", 1))
        return dim

    def feed_forward(self, layer: int, h: F64) -> F64:
        blk = f"blk.{layer}."
        x = self.norm(blk + "ffn_norm", h)
        gate = self.linear(blk + "ffn_gate", x)
        least: list[float] = self.file.get("activation_sparsity_scale", [DEVIATIONS] * 10 + [-np.inf] * self.n_layer)
        if least[layer] > -np.inf:
            cut = gate.mean(axis=-1, keepdims=True) + least[layer] * gate.std(axis=-1, ddof=1, keepdims=True)
            gate = np.maximum(gate - cut, 0)
        return self.linear(blk + "ffn_down", gelu_tanh(gate) * self.linear(blk + "ffn_up", x))

    def modalities(self, layer: int, x: F64) -> F64:
        blk = f"blk.{layer}.altup_router"
        return np.tanh(self.linear(blk, self.norm(f"{blk}_norm", x) / self.n_embd))

    def layer(self, layer: int, streams: F64, inputs: F64) -> F64:
        """One layer, streams (4, tokens, n_embd)."""
        blk = f"blk.{layer}."
        mix = self.linear(blk + "altup_predict_coef", self.modalities(layer, streams[0]))
        mix = mix.reshape(len(mix), len(streams), len(streams))  # of tokens, to, from
        streams = streams + np.einsum("tbs,ste->bte", mix, streams)
        a = self.norm(blk + "attn_norm", streams[0])
        low = a + self.norm(blk + "laurel_post_norm", self.linear(blk + "laurel_r", self.linear(blk + "laurel_l", a)))
        h = streams[0] + self.norm(blk + "post_attention_norm", self.attention(layer, a))
        h = (h + low) / math.sqrt(2)
        y = h + self.norm(blk + "post_ffw_norm", self.feed_forward(layer, h))
        factors = 1 + self.linear(blk + "altup_correct_coef", self.modalities(layer, y))
        streams = streams + factors.T[..., None] * (y - streams[0])
        gated = gelu_tanh(
            self.linear(blk + "inp_gate", streams[0] * self.file.tensor(blk + "altup_correct_scale.weight"))
        )
        streams[1:] += self.norm(blk + "post_norm", self.linear(blk + "proj", gated * inputs))
        return streams

    def logits(self, ids: Sequence[int]) -> F64:
        """The logits after each position, (tokens, vocabulary)."""
        embedding = self.file.tensor("token_embd.weight")
        x = embedding[np.asarray(ids)] * math.sqrt(self.n_embd)
        inputs = self.layer_inputs(ids, x)
        streams = np.stack([x, *(_like(x, x @ w.T) for w in self.file.tensor("altup_proj.weight"))])
        for layer in range(self.n_layer):
            streams = self.layer(layer, streams, inputs[layer])
        ends = zip(streams[1:], self.file.tensor("altup_unembd_proj.weight"), strict=True)
        x = np.mean([streams[0], *(_like(streams[0], s @ w.T) for s, w in ends)], axis=0)
        output = self.file.optional("output.weight")
        logits = self.norm("output_norm", x) @ (embedding if output is None else output).T
        return softcap(logits, self.file.get("final_logit_softcapping", 30.0))


def _like(x: F64, y: F64) -> F64:
    """y with the magnitude of x."""
    own = np.maximum((y * y).mean(axis=-1, keepdims=True), 1e-5)
    return np.asarray(y * np.sqrt((x * x).mean(axis=-1, keepdims=True) / own))


# ---------------------------------------------------------------- small models


def weights(s: Shape, seed: int, bell: Callable[[str, int, tuple[int, ...], float], F32]) -> Iterable[Named]:
    """Names and values in file order; `bell` draws a tensor."""

    def drawn(name: str, *shape: int, gain: float = 1.0) -> Named:
        return f"{name}.weight", bell(f"{name}.weight", seed, shape, gain / math.sqrt(shape[-1]))

    def norm(name: str, n: int, gain: float = 1.0) -> Named:
        return f"{name}.weight", (np.float32(gain) + bell(f"{name}.weight", seed, (n,), gain / 8)).astype(np.float32)

    n, width, n_streams = s.n_embd, s.n_embd_per_layer, 4
    yield drawn("token_embd", s.n_vocab, n, gain=s.embedding_gain)
    yield norm("output_norm", n)
    if not s.tied:
        yield drawn("output", s.n_vocab, n, gain=2.0)
    yield drawn("altup_proj", n_streams - 1, n, n)
    yield drawn("altup_unembd_proj", n_streams - 1, n, n)
    yield drawn("per_layer_token_embd", s.n_vocab, width * s.n_layer)
    yield drawn("per_layer_model_proj", width * s.n_layer, n)
    yield norm("per_layer_proj_norm", width)
    for i in range(s.n_layer):
        blk, gain = f"blk.{i}.", math.sqrt(1.5 / math.sqrt(s.head_dim))
        yield drawn(blk + "altup_router", n_streams, n, gain=0.5 * n)
        yield norm(blk + "altup_router_norm", n)
        yield drawn(blk + "altup_predict_coef", n_streams**2, n_streams, gain=0.25)
        yield drawn(blk + "altup_correct_coef", n_streams, n_streams, gain=0.5)
        yield norm(blk + "altup_correct_scale", n)
        yield drawn(blk + "laurel_l", RANK, n)
        yield drawn(blk + "laurel_r", n, RANK)
        yield norm(blk + "laurel_post_norm", n, 0.5)
        yield norm(blk + "attn_norm", n)
        yield drawn(blk + "attn_q", s.n_head * s.head_dim, n)
        yield norm(blk + "attn_q_norm", s.head_dim, gain)
        for letter in "kv":  # also of layers that share them
            yield drawn(blk + f"attn_{letter}", s.n_head_kv * s.head_dim, n)
        yield norm(blk + "attn_k_norm", s.head_dim, gain)
        yield drawn(blk + "attn_output", n, s.n_head * s.head_dim)
        yield norm(blk + "post_attention_norm", n, s.post_norm_gain)
        yield norm(blk + "ffn_norm", n)
        yield drawn(blk + "ffn_gate", s.n_ff, n)
        yield drawn(blk + "ffn_up", s.n_ff, n)
        yield drawn(blk + "ffn_down", n, s.n_ff)
        yield norm(blk + "post_ffw_norm", n, s.post_norm_gain)
        yield drawn(blk + "inp_gate", width, n)
        yield drawn(blk + "proj", n, width)
        yield norm(blk + "post_norm", n)


def metadata(s: Shape) -> dict[str, gf.Value]:
    """What its files say beyond other architectures' keys."""
    keys = {
        "attention.sliding_window_pattern": gf.booleans([layer % 5 != 4 for layer in range(s.n_layer)]),
        "attention.shared_kv_layers": gf.u32(max(s.n_layer - N_OWN, 0)),
        "embedding_length_per_layer_input": gf.u32(s.n_embd_per_layer),
        "altup.active_idx": gf.u32(0),
        "altup.num_inputs": gf.u32(4),
        "activation_sparsity_scale": gf.f32s([DEVIATIONS if layer < 10 else -math.inf for layer in range(s.n_layer)]),
    }
    return {f"gemma3n.{key}": value for key, value in keys.items()}
