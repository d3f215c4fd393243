"""Texts as vectors: hashed stems and n-grams of their words, which know no language and need no model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import folding

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]

N_FEATURES = 1 << 14
ALIKE = 0.5  # cosine from which two texts are variants of one
_SIZES = (2, 3, 4, 5)
_MOST_CHARACTERS = 2000  # of a text: what it is about is said by then


def counts(texts: Sequence[str]) -> Matrix:
    """Shape (n, N_FEATURES): square roots of how often each feature is there."""
    import numpy as np

    made = np.zeros((len(texts), N_FEATURES), dtype=np.float32)
    for row, text in enumerate(texts):
        np.add.at(made[row], [zlib.crc32(each.encode("utf-8", "replace")) % N_FEATURES for each in _features(text)], 1)
    return np.sqrt(made, out=made)


def _features(text: str) -> Iterator[str]:
    """Each digit is a 0: which number it is says little of what is wanted."""
    plain = re.sub(r"\d", "0", folding.fold(text[:_MOST_CHARACTERS]))
    for word in folding.words(plain):
        yield f"\n{folding.stem(word)}"  # no n-gram begins so
    for word in plain.split():
        padded = f" {word} "
        for size in _SIZES:
            yield from (padded[start : start + size] for start in range(len(padded) - size + 1))


def variants(rows: Matrix) -> Numbers:
    """For each row of counts() the number of the first one that it is a variant of, through others or at once."""
    import numpy as np

    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, 1)
    alike = unit @ unit.T >= ALIKE
    first = np.arange(len(rows))
    for row in range(len(rows)):
        found = np.unique(first[np.flatnonzero(alike[row, : row + 1])])
        first[np.isin(first, found)] = found.min() if len(found) else row
    return first
