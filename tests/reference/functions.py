"""The elementwise functions of the reference, and its norms, in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def silu(x: F64) -> F64:
    return np.asarray(x / (1 + np.exp(-x)))


def gelu_tanh(x: F64) -> F64:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x))))


def swiglu(gate: F64, up: F64) -> F64:
    return silu(gate) * up


def geglu(gate: F64, up: F64) -> F64:
    return gelu_tanh(gate) * up


def swiglu_clamped(gate: F64, up: F64) -> F64:
    gate = np.minimum(gate, 7.0)
    return np.asarray(gate / (1 + np.exp(-1.702 * gate)) * (np.clip(up, -7.0, 7.0) + 1))


def relu_squared(_: F64, up: F64) -> F64:
    """Of layers without a gate."""
    return np.asarray(np.maximum(up, 0) ** 2)


def rms_norm(x: F64, weight: F64, eps: float) -> F64:
    return np.asarray(x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight)


def softcap(x: F64, cap: float) -> F64:
    return cap * np.tanh(x / cap) if cap else x


def softmax(x: F64) -> F64:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def yarn_blend(n_rot: int, base: float, original: int, fast: float, slow: float) -> F64:
    """How much of each pair's original frequency YaRN keeps: 1 for fast pairs, 0 for slow ones.

    The ramp runs between the pairs that make `fast` and `slow` turns over the original context.
    """

    def pair_with(turns: float) -> float:
        return n_rot * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_with(fast)))
    high = min(n_rot - 1, math.ceil(pair_with(slow)))
    ramp = (np.arange(n_rot // 2) - low) / max(0.001, high - low)
    return np.asarray(1 - np.clip(ramp, 0, 1))
