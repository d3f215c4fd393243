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
