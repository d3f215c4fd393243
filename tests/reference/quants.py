"""Quantise float32 rows into ggml's block formats: simple, vectorised, and the same bytes on every machine.

Scales come from a block's extreme values alone (ggml searches for better ones): the referee compares two runtimes on
one quantised file, so what counts is that the layout is exact and every code is used, not the last bit of quality.
Only element-wise IEEE operations, minima and maxima are used, never a sum over an axis, whose order NumPy may choose
by instruction set.

Layouts: ggml's block structures (ggml-common.h); checked against `gguf.dequantize` in test_reference.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import grid_quants
from .gguf_file import TENSOR_TYPES

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.integer[Any]]  # uint8 after arithmetic, for which NumPy's types promise less

# The 16 levels of IQ4_NL and IQ4_XS, ascending.
IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)

# The levels of MXFP4 and NVFP4, doubled as ggml has them.
FP4_LEVELS = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)


def quantize(weights: F32, kind: str) -> U8:
    """Rows of float32, shape (..., n), to rows of bytes in the named type, shape (rows, row bytes)."""
    _, block, _ = TENSOR_TYPES[kind]
    if weights.shape[-1] % block:
        raise ValueError(f"rows of {weights.shape[-1]} do not fit blocks of {block} ({kind})")
    rows = weights.size // weights.shape[-1]
    blocks = np.ascontiguousarray(weights, np.float32).reshape(-1, block)
    return _ENCODERS[kind](blocks).reshape(rows, -1)


def _half(x: F32) -> F32:
    """The value that a reader of the file will see for a scale: rounded to float16."""
    return np.asarray(x.astype(np.float16), np.float32)


def _half_bytes(x: F32) -> U8:
    return x.astype("<f2").reshape(-1, 1).view(np.uint8)


def _divide(x: F32, scale: F32) -> F32:
    """x / scale, and 0 where the scale is 0 (a block of equal values)."""
    safe = np.where(scale == 0, np.float32(1), scale)
    return np.asarray(np.where(scale == 0, np.float32(0), x / safe), np.float32)


def _code(x: F32, low: int, high: int) -> U8:
    """Nearest integer in [low, high], stored from 0."""
    return (np.clip(np.rint(x), low, high) - low).astype(np.uint8)


def _signed_extreme(x: F32) -> F32:
    """Per last axis the value of largest magnitude, with its sign, kept as an axis of length 1."""
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    return np.asarray(np.where(-low > high, low, high), np.float32)


def _nibbles(codes: Codes) -> U8:
    """(..., 2n) codes below 16 -> (..., n) bytes: the first half in the low nibbles, the second in the high ones."""
    low, high = np.split(codes, 2, axis=-1)
    return (low | (high << 4)).astype(np.uint8)


def _bits32(flags: Codes) -> U8:
    """(blocks, 32) of 0/1 -> 4 bytes, element i in bit i."""
    return np.packbits(flags, axis=-1, bitorder="little")


# ---------------------------------------------------------------- floats and blocks of 32


def _f32(x: F32) -> U8:
    return x.astype("<f4").view(np.uint8)


def _f16(x: F32) -> U8:
    return x.astype("<f2").view(np.uint8)


def _bf16(x: F32) -> U8:
    bits = x.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # to nearest, ties to even
    return (rounded >> np.uint32(16)).astype("<u2").view(np.uint8)


def _q8_0(x: F32) -> U8:
    d = _half(np.abs(x).max(-1, keepdims=True) / np.float32(127))
    q = np.clip(np.rint(_divide(x, d)), -127, 127).astype(np.int8)
    return np.concatenate([_half_bytes(d), q.view(np.uint8)], -1)


def _q4_0(x: F32) -> U8:
    d = _half(_signed_extreme(x) / np.float32(-8))
    return np.concatenate([_half_bytes(d), _nibbles(_code(_divide(x, d), -8, 7))], -1)


def _q5_0(x: F32) -> U8:
    d = _half(_signed_extreme(x) / np.float32(-16))
    q = _code(_divide(x, d), -16, 15)
    return np.concatenate([_half_bytes(d), _bits32(q >> 4), _nibbles(q & 15)], -1)


def _affine(x: F32, steps: int) -> tuple[F32, F32, F32]:
    low = _half(x.min(-1, keepdims=True))
    d = _half((x.max(-1, keepdims=True) - low) / np.float32(steps))
    return d, low, _divide(x - low, d)


def _q4_1(x: F32) -> U8:
    d, low, scaled = _affine(x, 15)
    return np.concatenate([_half_bytes(d), _half_bytes(low), _nibbles(_code(scaled, 0, 15))], -1)


def _q5_1(x: F32) -> U8:
    d, low, scaled = _affine(x, 31)
    q = _code(scaled, 0, 31)
    return np.concatenate([_half_bytes(d), _half_bytes(low), _bits32(q >> 4), _nibbles(q & 15)], -1)


def _iq4_codes(x: F32, scale: F32) -> U8:
    middles = (IQ4_LEVELS[1:] + IQ4_LEVELS[:-1]) / np.float32(2)
    return np.searchsorted(middles, _divide(x, scale)).astype(np.uint8)


def _iq4_nl(x: F32) -> U8:
    d = _half(_signed_extreme(x) / IQ4_LEVELS[0])
    return np.concatenate([_half_bytes(d), _nibbles(_iq4_codes(x, d))], -1)


def _mxfp4(x: F32) -> U8:
    size = np.abs(x)
    # 2^exponent is above the largest and at most twice it; levels reach to 12 halves of 2^(e - 127).
    _, exponent = np.frexp(size.max(-1, keepdims=True))
    e = np.clip(exponent - 3 + 127, 0, 254)
    return np.concatenate([e.astype(np.uint8), _nibbles(_fp4_codes(x, np.ldexp(size, 128 - e)))], -1)


def _fp4_codes(x: F32, sizes: F32) -> U8:
    middles = (FP4_LEVELS[1:] + FP4_LEVELS[:-1]) / np.float32(2)
    return (np.searchsorted(middles, sizes) | np.where(x < 0, 8, 0)).astype(np.uint8)


# Scales of four bits of exponent and three of fraction, ascending with their codes; halved, as the levels are doubled.
_UE4M3 = np.array([m / 1024 if e == 0 else (8 + m) * 2.0 ** (e - 11) for e in range(16) for m in range(8)], np.float32)


def _nvfp4(x: F32) -> U8:
    sub = x.reshape(-1, 4, 16)
    size = np.abs(sub)
    usable = _UE4M3[:127]  # the last code is none
    code = np.searchsorted((usable[1:] + usable[:-1]) / np.float32(2), size.max(-1) / np.float32(12)).astype(np.uint8)
    codes = _nibbles(_fp4_codes(sub, _divide(size, usable[code][..., None])))
    return np.concatenate([code, codes.reshape(-1, 32)], -1)


def _ternary(x: F32) -> tuple[F32, U8]:
    d = _half(np.abs(x).max(-1, keepdims=True) * np.float32(0.5))
    return d, _code(_divide(x, d), -1, 1)


def _q1_0(x: F32) -> U8:
    d = _half(np.abs(x).max(-1, keepdims=True) * np.float32(0.3))
    return np.concatenate([_half_bytes(d), np.packbits(x >= 0, axis=-1, bitorder="little")], -1)


def _q2_0(x: F32) -> U8:
    d = _half(np.abs(x).max(-1, keepdims=True) * np.float32(0.5))
    q = _code(_divide(x, d), -1, 2).reshape(-1, 16, 4)
    return np.concatenate([_half_bytes(d), q[..., 0] | q[..., 1] << 2 | q[..., 2] << 4 | q[..., 3] << 6], -1)


def _tq2_0(x: F32) -> U8:
    d, q = _ternary(x)
    return np.concatenate([_two_bit_planes(q), _half_bytes(d)], -1)


def _tq1_0(x: F32) -> U8:
    d, q = _ternary(x)
    parts = []
    for first, digits, n in ((0, 5, 32), (160, 5, 16), (240, 4, 4)):
        number = np.zeros((len(x), n), np.int64)
        for digit in range(5):
            number = number * 3
            if digit < digits:
                number += q[:, first + digit * n : first + (digit + 1) * n]
        parts.append(((number * 256 + 242) // 243).astype(np.uint8))  # the fraction number / 243, rounded up
    return np.concatenate([*parts, _half_bytes(d)], -1)


# ---------------------------------------------------------------- superblocks of 256


def _superblock_scale(scales: F32, top: int) -> tuple[F32, U8]:
    """Non-negative scales (blocks, n, 1) -> one float16 d per block and codes in 0..top with scale = d * code."""
    d = _half(scales.max(1, keepdims=True) / np.float32(top))
    return d, _code(_divide(scales, d), 0, top)


def _signed_superblock_scale(scales: F32, bottom: int, top: int) -> tuple[F32, U8]:
    """As above for scales of either sign; codes bottom..top, stored from 0."""
    extreme = _signed_extreme(scales[..., 0])[..., None]
    d = _half(extreme / np.float32(bottom))
    return d, _code(_divide(scales, d), bottom, top)


def _scale_min(x: F32, steps: int, top: int) -> tuple[F32, F32, U8, U8, U8]:
    """Sub-blocks (blocks, n, m) as d*scale*q - dmin*min: returns d, dmin, scale codes, min codes, q."""
    low = np.minimum(x.min(-1, keepdims=True), np.float32(0))
    d, scale = _superblock_scale((x.max(-1, keepdims=True) - low).clip(0) / np.float32(steps), top)
    dmin, minimum = _superblock_scale(-low, top)
    q = _code(_divide(x + dmin * minimum.astype(np.float32), d * scale.astype(np.float32)), 0, steps)
    return d, dmin, scale[..., 0], minimum[..., 0], q


def _two_bit_planes(q: Codes) -> U8:
    """(blocks, 256) codes below 4 -> 64 bytes: in each half of 128, plane p of 32 elements in bits 2p."""
    planes = q.reshape(-1, 2, 4, 32)
    packed = planes[:, :, 0] | planes[:, :, 1] << 2 | planes[:, :, 2] << 4 | planes[:, :, 3] << 6
    return packed.reshape(-1, 64).astype(np.uint8)


def _scales_6bit(scale: U8, minimum: U8) -> U8:
    """8 scales and 8 minima of 6 bits in 12 bytes, as Q4_K and Q5_K share them."""
    first = scale[:, :4] | (scale[:, 4:] >> 4) << 6
    second = minimum[:, :4] | (minimum[:, 4:] >> 4) << 6
    third = (scale[:, 4:] & 15) | (minimum[:, 4:] & 15) << 4
    return np.concatenate([first, second, third], -1).astype(np.uint8)


def _nibble_pairs(q: Codes) -> U8:
    """(blocks, 8, 32) codes below 16 -> 128 bytes: sub-blocks 2i and 2i+1 share 32 bytes."""
    return (q[:, 0::2] | q[:, 1::2] << 4).reshape(-1, 128).astype(np.uint8)


def _q2_k(x: F32) -> U8:
    d, dmin, scale, minimum, q = _scale_min(x.reshape(-1, 16, 16), 3, 15)
    scales = (scale | minimum << 4).astype(np.uint8)
    return np.concatenate([scales, _two_bit_planes(q), _half_bytes(d), _half_bytes(dmin)], -1)


def _q3_k(x: F32) -> U8:
    sub = x.reshape(-1, 16, 16)
    d, scale = _signed_superblock_scale(_signed_extreme(sub) / np.float32(-4), -32, 31)
    q = _code(_divide(sub, d * (scale.astype(np.float32) - np.float32(32))), -4, 3).reshape(-1, 256)
    high = (q >> 2).reshape(-1, 8, 32)  # bit p of byte j: plane p of 32 elements, element j
    hmask = np.packbits(high, axis=1, bitorder="little").reshape(-1, 32)
    code = scale[..., 0]
    low4 = code[:, :8] & 15 | (code[:, 8:] & 15) << 4
    top2 = code >> 4
    high2 = top2[:, 0:4] | top2[:, 4:8] << 2 | top2[:, 8:12] << 4 | top2[:, 12:16] << 6
    return np.concatenate([hmask, _two_bit_planes(q & 3), low4, high2, _half_bytes(d)], -1).astype(np.uint8)


def _q4_k(x: F32) -> U8:
    d, dmin, scale, minimum, q = _scale_min(x.reshape(-1, 8, 32), 15, 63)
    return np.concatenate([_half_bytes(d), _half_bytes(dmin), _scales_6bit(scale, minimum), _nibble_pairs(q)], -1)


def _q5_k(x: F32) -> U8:
    d, dmin, scale, minimum, q = _scale_min(x.reshape(-1, 8, 32), 31, 63)
    high = np.packbits(q >> 4, axis=1, bitorder="little").reshape(-1, 32)  # bit s of byte j: sub-block s, element j
    head = [_half_bytes(d), _half_bytes(dmin), _scales_6bit(scale, minimum)]
    return np.concatenate([*head, high, _nibble_pairs(q & 15)], -1)


def _q6_k(x: F32) -> U8:
    sub = x.reshape(-1, 16, 16)
    d, scale = _signed_superblock_scale(_signed_extreme(sub) / np.float32(-32), -128, 127)
    signed = scale.astype(np.int16) - 128
    q = _code(_divide(sub, d * signed.astype(np.float32)), -32, 31).reshape(-1, 2, 4, 32)
    low = (q[:, :, :2] & 15) | (q[:, :, 2:] & 15) << 4  # planes 0, 1 in the low nibbles, 2, 3 in the high ones
    scales = signed.astype(np.int8).reshape(-1, 16).view(np.uint8)
    return np.concatenate([low.reshape(-1, 128), _two_bit_planes(q >> 4), scales, _half_bytes(d)], -1).astype(np.uint8)


def _iq4_xs(x: F32) -> U8:
    sub = x.reshape(-1, 8, 32)
    d, scale = _signed_superblock_scale(_signed_extreme(sub) / IQ4_LEVELS[0], -32, 31)
    q = _iq4_codes(sub, d * (scale.astype(np.float32) - np.float32(32)))
    code = scale[..., 0]
    low = (code[:, 0::2] & 15) | (code[:, 1::2] & 15) << 4
    shifts = np.arange(0, 16, 2, dtype=np.uint16)
    high = np.bitwise_or.reduce((code >> 4).astype(np.uint16) << shifts, axis=-1, keepdims=True).astype("<u2")
    parts = [_half_bytes(d), high.view(np.uint8), low, _nibbles(q).reshape(-1, 128)]
    return np.concatenate(parts, -1).astype(np.uint8)


_ENCODERS: dict[str, Callable[[F32], U8]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "NVFP4": _nvfp4,
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    **grid_quants.ENCODERS,
}
