"""Recurrent layers in float64, token by token, and their random weights: delta nets, Mamba-2, short convolutions.

Facts: llama.cpp's src/models/qwen35.cpp, qwen3next.cpp, mamba-base.cpp and lfm2.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .functions import rms_norm, silu

if TYPE_CHECKING:
    from .forward import Referee
    from .variants import Shape

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
Named = tuple[str, F32]
Matrix = Callable[..., Named]  # (name, rows, columns, gain=1)
Bell = Callable[[str, int, tuple[int, ...], float], F32]


def mixer_of(referee: Referee, layer: int) -> Callable[[int, F64], F64] | None:
    """What a layer has in place of attention, if it does."""
    blk = f"blk.{layer}."
    if referee.file.has(blk + "shortconv.conv.weight"):
        return lambda at, x: short_convolution(referee, at, x)
    if referee.file.has(blk + "ssm_d"):
        return lambda at, x: mamba2(referee, at, x)
    if referee.file.has(blk + "ssm_out.weight"):
        return lambda at, x: delta_net(referee, at, x)
    return None


def _convolve(u: F64, taps: F64) -> F64:
    """Of each channel over the last inputs: u (tokens, channels), taps (taps, channels) from the oldest on."""
    padded = np.concatenate([np.zeros((len(taps) - 1, u.shape[1])), u])
    return np.asarray(sum(tap * padded[i : i + len(u)] for i, tap in enumerate(taps)))


def delta_net(referee: Referee, layer: int, x: F64) -> F64:
    """Gated delta rule (Yang et al. 2024) on queries, keys and values out of a convolution."""
    file, blk, n, eps = referee.file, f"blk.{layer}.", len(x), referee.d.eps
    dim, n_key, n_head = (file.get(f"ssm.{key}", 0) for key in ("state_size", "group_count", "time_step_rank"))
    group = n_head // n_key
    u = silu(_convolve(referee.linear(blk + "attn_qkv", x), file.tensor(blk + "ssm_conv1d.weight").T))
    parts = np.split(u, [n_key * dim, 2 * n_key * dim], axis=-1)
    q, k, v = (part.reshape(n, -1, dim) for part in parts)
    q, k = (part / np.sqrt((part * part).sum(axis=-1, keepdims=True) + eps) for part in (q, k))
    if file.arch == "qwen3next":  # neighboring heads share a key; of each such group betas, then alphas
        both = referee.linear(blk + "ssm_ba", x).reshape(n, n_key, 2, group)
        beta, alpha = both[:, :, 0].reshape(n, -1), both[:, :, 1].reshape(n, -1)
        q, k = q.repeat(group, axis=1), k.repeat(group, axis=1)
    else:
        beta, alpha = (referee.linear(f"{blk}ssm_{name}", x) for name in ("beta", "alpha"))
        q, k = np.tile(q, (1, group, 1)), np.tile(k, (1, group, 1))
    beta = 1 / (1 + np.exp(-beta))
    alpha = np.logaddexp(0, alpha + file.tensor(blk + "ssm_dt.bias"))
    decay = np.exp(file.tensor(blk + "ssm_a").reshape(-1) * alpha)
    state = np.zeros((n_head, dim, dim))  # (head, key, value)
    out = np.empty((n, n_head, dim))
    for t in range(n):
        state *= decay[t][:, None, None]
        r = beta[t][:, None] * (v[t] - np.einsum("hkv,hk->hv", state, k[t]))
        state += k[t][:, :, None] * r[:, None, :]
        out[t] = np.einsum("hkv,hk->hv", state, q[t]) / math.sqrt(dim)
    z = referee.linear(blk + "attn_gate", x).reshape(n, n_head, dim)
    out = rms_norm(out, file.tensor(blk + "ssm_norm.weight"), eps) * silu(z)
    return referee.linear(blk + "ssm_out", out.reshape(n, -1))


def mamba2(referee: Referee, layer: int, x: F64) -> F64:
    """A state space whose matrices decay by one number a head (Dao & Gu 2024)."""
    file, blk, n = referee.file, f"blk.{layer}.", len(x)
    dim, n_group, n_head = (file.get(f"ssm.{key}", 0) for key in ("state_size", "group_count", "time_step_rank"))
    inner: int = file.get("ssm.inner_size", 0)
    rows = referee.linear(blk + "ssm_in", x)
    z, u, step = np.split(rows, [inner, rows.shape[1] - n_head], axis=-1)
    u = _convolve(u, file.tensor(blk + "ssm_conv1d.weight").T)
    conv_bias = file.optional(blk + "ssm_conv1d.bias")
    u = silu(u if conv_bias is None else u + conv_bias)
    parts = np.split(u, [inner, inner + n_group * dim], axis=-1)
    value = parts[0].reshape(n, n_head, -1)
    b, c = (part.reshape(n, n_group, dim).repeat(n_head // n_group, axis=1) for part in parts[1:])
    step = np.logaddexp(0, step + file.tensor(blk + "ssm_dt.bias"))
    decay = np.exp(step * file.tensor(blk + "ssm_a").reshape(-1))
    state = np.zeros((n_head, dim, value.shape[-1]))
    out = np.empty_like(value)
    for t in range(n):
        state = state * decay[t][:, None, None] + b[t][:, :, None] * (value[t] * step[t][:, None])[:, None, :]
        out[t] = np.einsum("hkv,hk->hv", state, c[t])
    out = out + value * file.tensor(blk + "ssm_d").reshape(-1)[:, None]
    grouped = (out.reshape(n, -1) * silu(z)).reshape(n, n_group, -1)
    weight = file.tensor(blk + "ssm_norm.weight").reshape(n_group, -1)
    return referee.linear(blk + "ssm_out", rms_norm(grouped, weight, referee.d.eps).reshape(n, -1))


def short_convolution(referee: Referee, layer: int, x: F64) -> F64:
    """A convolution of a gated input, gated again."""
    blk = f"blk.{layer}.shortconv."
    b, c, u = np.split(referee.linear(blk + "in_proj", x), 3, axis=-1)
    return referee.linear(blk + "out_proj", c * _convolve(b * u, referee.file.tensor(blk + "conv.weight").T))


# ---------------------------------------------------------------- weights and metadata


def weights(s: Shape, seed: int, blk: str, matrix: Matrix, bell: Bell) -> Iterable[Named]:
    """Of one recurrent layer."""

    def spread(name: str, shape: tuple[int, ...], deviation: float, center: float = 0.0) -> Named:
        return blk + name, np.float32(center) + bell(blk + name, seed, shape, deviation)

    if s.short_taps:
        yield matrix(blk + "shortconv.in_proj", 3 * s.n_embd, s.n_embd, 1.25)
        yield spread("shortconv.conv.weight", (s.n_embd, s.short_taps), 0.7)
        yield matrix(blk + "shortconv.out_proj", s.n_embd, s.n_embd)
        return
    keys, values = s.delta_keys * s.delta_dim, s.mamba_inner or s.delta_heads * s.delta_dim
    channels = 2 * keys + values
    if s.mamba_inner:
        yield matrix(blk + "ssm_in", values + channels + s.delta_heads, s.n_embd)
        yield spread("ssm_conv1d.bias", (channels,), 0.25)
        yield spread("ssm_d", (s.delta_heads, 1), 0.5, 1.0)
    else:
        yield matrix(blk + "attn_qkv", channels, s.n_embd)
        yield matrix(blk + "attn_gate", values, s.n_embd)
        for name in ("ba",) if s.arch == "qwen3next" else ("alpha", "beta"):
            yield matrix(blk + f"ssm_{name}", s.delta_heads * (2 if name == "ba" else 1), s.n_embd)
    yield spread("ssm_conv1d.weight", (channels, 4), 0.5)
    yield spread("ssm_dt.bias", (s.delta_heads,), 0.25)
    a = -np.abs(bell(blk + "ssm_a", seed, (s.delta_heads,), 0.5))
    yield blk + "ssm_a", a.reshape(-1, 1) if s.mamba_inner else a
    norm = (s.delta_keys, values // s.delta_keys) if s.mamba_inner else (s.delta_dim,)
    yield spread("ssm_norm.weight", norm, 0.125, 1.0)
    yield matrix(blk + "ssm_out", s.n_embd, values)


def numbers(s: Shape) -> dict[str, int]:
    """Metadata of the recurrent layers, by key."""
    if s.short_taps:
        return {"shortconv.l_cache": s.short_taps}
    found = {"full_attention_interval": s.delta_period} if s.delta_period else {}
    return found | {
        "ssm.conv_kernel": 4,
        "ssm.state_size": s.delta_dim,
        "ssm.group_count": s.delta_keys,
        "ssm.time_step_rank": s.delta_heads,
        "ssm.inner_size": s.mamba_inner or s.delta_heads * s.delta_dim,
    }
