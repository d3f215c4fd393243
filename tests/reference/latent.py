"""Attention of deepseek2, in float64 and not absorbed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .functions import softmax

if TYPE_CHECKING:
    from .forward import Referee

F64 = npt.NDArray[np.float64]


def latent_attention(referee: Referee, layer: int, x: F64) -> F64:
    """deepseek2's, as its authors wrote it: every head has its own key and value, made of one vector a token."""
    d, blk, n = referee.d, f"blk.{layer}.", len(x)
    rope, rank = d.rope_full, referee.file.get("attention.kv_lora_rank", 0)
    key_dim = referee.file.get("attention.key_length_mla", referee.file.get("attention.key_length", 0))
    value_dim = referee.file.get("attention.value_length_mla", referee.file.get("attention.value_length", 0))
    n_rot = 2 * len(rope.frequency)
    plain = key_dim - n_rot  # dimensions of a head's key that do not rotate
    if referee.file.has(blk + "attn_q_a.weight"):
        q = referee.linear(blk + "attn_q_b", referee.norm(blk + "attn_q_a_norm", referee.linear(blk + "attn_q_a", x)))
    else:
        q = referee.linear(blk + "attn_q", x)
    n_head = d.n_head[layer]
    q = q.reshape(n, n_head, key_dim)
    latent = referee.linear(blk + "attn_kv_a_mqa", x)
    c = referee.norm(blk + "attn_kv_a_norm", latent[:, :rank])
    if referee.file.has(blk + "attn_kv_b.weight"):  # (n_head, plain + value_dim, rank)
        both = referee.matrix(blk + "attn_kv_b").reshape(n_head, plain + value_dim, rank)
        key_of, value_of = both[:, :plain], both[:, plain:]
    else:
        key_of = np.swapaxes(referee.matrix(blk + "attn_k_b"), 1, 2)
        value_of = referee.matrix(blk + "attn_v_b")
    turned = rope.apply(latent[:, None, rank:])[:, 0]
    q_turned = rope.apply(q[..., plain:])
    warmth, length, _ = d.temperature
    heat = (1 + warmth * np.log(1 + np.arange(n) // length))[:, None]
    factor = referee.file.get("rope.scaling.factor", 0.0) or 1.0
    magnitude = rope.magnitude
    if referee.file.get("rope.scaling.type", "linear") == "yarn":
        magnitude *= 1 + referee.file.get("rope.scaling.yarn_log_multiplier", 0.0) * math.log(factor)
    visible = np.arange(n)[:, None] >= np.arange(n)
    out = np.empty((n, n_head, value_dim))
    for head in range(n_head):
        score = q[:, head, :plain] @ (c @ key_of[head].T).T + q_turned[:, head] @ turned.T
        score = score * heat * magnitude**2 / math.sqrt(key_dim)
        out[:, head] = softmax(np.where(visible, score, -np.inf)) @ (c @ value_of[head].T)
    return referee.linear(blk + "attn_output", out.reshape(n, -1))
