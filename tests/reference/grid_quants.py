"""Quantise blocks of 256 into ggml's types of grids: IQ2, IQ3 and IQ1. As simple as quants.py, and as reproducible.

Each value is rounded to the nearest level of its type, and each group of 4 or 8 levels to the nearest point of the
grid. The points are data of the format; they come from the `gguf` package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import gguf.quants
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Grid:
    """A type's levels, ascending, and for each group of them, as a number in base len(levels), the nearest point."""

    levels: F32
    n_values: int  # of a point
    nearest: I64

    def points(self, x: F32) -> I64:
        """Numbers of the points nearest to (blocks, 256) values in units of the levels."""
        middles = (self.levels[1:] + self.levels[:-1]) / np.float32(2)
        codes = np.searchsorted(middles, x).reshape(len(x), -1, self.n_values)
        number = np.zeros(codes.shape[:2], np.int64)
        for i in range(self.n_values):
            number = number * len(self.levels) + codes[..., i]
        return self.nearest[number]


@cache
def _grid(kind: str) -> Grid:
    points: Any = getattr(gguf.quants, kind)
    points.init_grid()
    grid = points.grid.reshape(-1, points.grid.shape[-1]).astype(np.int64)
    levels = np.unique(grid)
    n = grid.shape[1]
    groups = np.indices((len(levels),) * n).reshape(n, -1)
    distance = np.zeros((groups.shape[1], len(grid)), np.int64)
    for i in range(n):
        distance += (levels[groups[i]][:, None] - grid[:, i]) ** 2
    return Grid(levels.astype(np.float32), n, distance.argmin(1))


def _scales(x: F32, sub_values: int, top: float, unit: float, codes: int) -> tuple[F32, U8, F32]:
    """d (blocks, 1), codes s (blocks, subs), and x in units of d * unit * (2 s + 1); `top`: where largest values go."""
    sub = x.reshape(len(x), -1, sub_values)
    wanted = np.abs(sub).max(-1) / np.float32(top)
    d = (wanted.max(-1, keepdims=True) / np.float32((2 * codes - 1) * unit)).astype(np.float16).astype(np.float32)
    step = d * np.float32(unit)
    safe = np.where(step == 0, np.float32(1), step)
    s = np.clip(np.rint((wanted / safe - 1) / 2), 0, codes - 1).astype(np.uint8)
    scaled = sub / (safe * (2 * s.astype(np.float32) + 1))[..., None]
    return d, s, scaled.reshape(x.shape).astype(np.float32)


def _half_bytes(d: F32) -> U8:
    return d.astype("<f2").view(np.uint8)


def _nibbles(codes: U8) -> U8:
    """Neighbors share a byte, the first in its lower half."""
    return (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)


def _gather_bits(numbers: I64, shift: int, bits: int, n: int) -> U8:
    """`bits` bits from `shift` on, of n numbers in a byte, from its lowest bit."""
    field = (numbers >> shift & ((1 << bits) - 1)).reshape(len(numbers), -1, n)
    total = np.zeros(field.shape[:2], np.int64)
    for i in range(n):
        total |= field[..., i] << (bits * i)
    return total.astype(np.uint8)


def _signs(x: F32) -> U8:
    """(blocks, 256) -> (blocks, 32) bytes."""
    return np.packbits((x < 0).reshape(len(x), 32, 8), axis=-1, bitorder="little")[..., 0]


def _even_signs(x: F32) -> U8:
    """As above, with an even number in each byte: an odd one loses or gains that of its smallest value."""
    groups = x.reshape(-1, 8)
    negative = groups < 0
    odd = negative.sum(-1) % 2 == 1
    rows = np.nonzero(odd)[0]
    negative[rows, np.abs(groups[rows]).argmin(-1)] ^= True
    return np.packbits(negative, axis=-1, bitorder="little").reshape(len(x), 32)


def _words(signs: U8, s: U8) -> npt.NDArray[np.uint32]:
    """(blocks, 8): four times seven signs, and a scale above them."""
    seven = (signs & 127).astype(np.uint32).reshape(len(signs), 8, 4)
    word = s.astype(np.uint32) << np.uint32(28)
    for i in range(4):
        word |= seven[..., i] << np.uint32(7 * i)
    return word.astype("<u4")


def _iq2_xxs(x: F32) -> U8:
    d, s, scaled = _scales(x, 32, 43, 0.125, 16)
    points = _grid("IQ2_XXS").points(np.abs(scaled)).astype(np.uint8).reshape(len(x), 8, 4)
    words = _words(_even_signs(x), s).reshape(len(x), 8, 1).view(np.uint8)
    return np.concatenate([_half_bytes(d), np.concatenate([points, words], -1).reshape(len(x), 64)], -1)


def _iq2_xs(x: F32) -> U8:
    d, s, scaled = _scales(x, 16, 43, 0.125, 16)
    points = _grid("IQ2_XS").points(np.abs(scaled)) | (_even_signs(x).astype(np.int64) & 127) << 9
    return np.concatenate([_half_bytes(d), points.astype("<u2").view(np.uint8), _nibbles(s)], -1)


def _iq2_s(x: F32) -> U8:
    d, s, scaled = _scales(x, 16, 43, 0.125, 16)
    points = _grid("IQ2_S").points(np.abs(scaled))
    parts = [_half_bytes(d), points.astype(np.uint8), _signs(x), _gather_bits(points, 8, 2, 4), _nibbles(s)]
    return np.concatenate(parts, -1)


def _iq3_xxs(x: F32) -> U8:
    d, s, scaled = _scales(x, 32, 62, 0.25, 16)
    points = _grid("IQ3_XXS").points(np.abs(scaled)).astype(np.uint8)
    return np.concatenate([_half_bytes(d), points, _words(_even_signs(x), s).view(np.uint8)], -1)


def _iq3_s(x: F32) -> U8:
    d, s, scaled = _scales(x, 32, 15, 1, 16)
    points = _grid("IQ3_S").points(np.abs(scaled))
    parts = [_half_bytes(d), points.astype(np.uint8), _gather_bits(points, 8, 1, 8), _signs(x), _nibbles(s)]
    return np.concatenate(parts, -1)


def _shifted(x: F32, sub_values: int, shift_values: int) -> tuple[F32, U8, I64, I64]:
    """d, s, the points, and whether neighbors that share a shift are shifted down: where most are negative."""
    d, s, scaled = _scales(x, sub_values, 1.75, 1, 8)
    down = ((x < 0).reshape(len(x), -1, shift_values).sum(-1) * 2 > shift_values).astype(np.int64)
    shift = np.where(down == 1, np.float32(-0.125), np.float32(0.125)).repeat(shift_values, -1)
    return d, s, _grid("IQ1_S").points((scaled - shift).astype(np.float32)), down


def _iq1_s(x: F32) -> U8:
    d, s, points, down = _shifted(x, 32, 32)
    high = (points >> 8).reshape(len(x), 8, 4)
    word = s.astype(np.int64) << 12 | down << 15
    for i in range(4):
        word |= high[..., i] << (3 * i)
    return np.concatenate([_half_bytes(d), points.astype(np.uint8), word.astype("<u2").view(np.uint8)], -1)


def _iq1_m(x: F32) -> U8:
    d, s, points, down = _shifted(x, 16, 8)
    high = _gather_bits(points >> 8 | down << 3, 0, 4, 2)
    fields = s.astype(np.int64).reshape(len(x), 4, 4)
    word = d.astype("<f2").view("<u2").astype(np.int64) >> np.array([0, 4, 8, 12]) << 12 & 0xF000
    for i in range(4):
        word |= fields[..., i] << (3 * i)
    return np.concatenate([points.astype(np.uint8), high, word.astype("<u2").view(np.uint8)], -1)


ENCODERS: dict[str, Callable[[F32], U8]] = {
    "IQ3_XXS": _iq3_xxs,
    "IQ3_S": _iq3_s,
    "IQ2_XXS": _iq2_xxs,
    "IQ2_XS": _iq2_xs,
    "IQ2_S": _iq2_s,
    "IQ1_S": _iq1_s,
    "IQ1_M": _iq1_m,
}
