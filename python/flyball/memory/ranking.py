"""Which pieces fit a question best: by words, by vectors, and by both."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Key = TypeVar("Key", bound=Hashable)

_SATURATION, _LENGTH = 1.2, 0.75  # BM25's usual k1 and b
_LEAST_SHARE = 0.15  # of the weight of a question's words that a piece must have
_OTHERS = 20  # pieces that count as being without the words: of a few documents alone nobody knows which words are rare
_RANK = 60  # of reciprocal ranks: how little the first places stand out


def by_words(pieces: Mapping[Key, str], terms: Sequence[str], n_all: int) -> list[tuple[Key, float]]:
    """Pieces (folded) by BM25, best first; those with too little of the question are left out.

    `pieces`: all that have any of the terms; `n_all`: how many pieces there are, these among them. Only what the asker
    may see is counted, so that nobody's ranks tell of others' documents.
    """
    counts = {key: [text.count(term) for term in terms] for key, text in pieces.items()}
    n_with = [sum(count[i] > 0 for count in counts.values()) for i in range(len(terms))]
    weights = [math.log(1 + (n_all + _OTHERS - n + 0.5) / (n + 0.5)) for n in n_with]
    mean = sum(map(len, pieces.values())) / max(len(pieces), 1) or 1.0
    ranked = []
    for key, count in counts.items():
        found = sum(weight for weight, n in zip(weights, count, strict=True) if n)
        if found < _LEAST_SHARE * sum(weights) or not found:
            continue
        norm = _SATURATION * (1 - _LENGTH + _LENGTH * len(pieces[key]) / mean)
        score = sum(w * n * (_SATURATION + 1) / (n + norm) for w, n in zip(weights, count, strict=True))
        ranked.append((key, score))
    return sorted(ranked, key=lambda each: -each[1])


def by_vectors(
    keys: Sequence[Key], vectors: npt.NDArray[np.float32], question: npt.NDArray[np.float32], most: int
) -> list[tuple[Key, float]]:
    """The `most` nearest of `vectors` (n, d), by cosine; all are of length 1, as the question (d,) is."""
    if not len(keys):
        return []
    cosines = vectors @ question
    order = np.argsort(-cosines, kind="stable")[:most]
    return [(keys[i], float(cosines[i])) for i in order]


def fused(*rankings: Sequence[tuple[Key, float]]) -> list[tuple[Key, float]]:
    """One ranking of several, by the sum of reciprocal ranks: their scores cannot be compared."""
    scores: dict[Key, float] = {}
    for ranking in rankings:
        for rank, (key, _) in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (_RANK + rank)
    return sorted(scores.items(), key=lambda each: -each[1])
