"""Texts as vectors: hashed n-grams of characters, which know no language and need no model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..folding import fold

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]

N_FEATURES = 1 << 14
_SIZES = (2, 3, 4, 5)
_MOST_CHARACTERS = 2000  # of a text: what it is about is said by then


def vectors(texts: Sequence[str]) -> Matrix:
    """Shape (n, N_FEATURES): damped counts of n-grams, each row of length 1; of a text without any, zeros."""
    import numpy as np

    made = np.zeros((len(texts), N_FEATURES), dtype=np.float32)
    for row, text in enumerate(texts):
        padded = f" {fold(text[:_MOST_CHARACTERS])} ".encode("utf-32-le", "replace")
        grams = [
            zlib.crc32(padded[start : start + 4 * size]) % N_FEATURES
            for size in _SIZES
            for start in range(0, len(padded) - 4 * size + 1, 4)
        ]
        np.add.at(made[row], grams, 1.0)
    np.sqrt(made, out=made)
    lengths = np.linalg.norm(made, axis=1, keepdims=True)
    return made / np.where(lengths > 0, lengths, 1)
