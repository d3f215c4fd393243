"""Texts that are nearly the same: MinHash finds the candidates, the Jaccard similarity of their n-grams decides.

Texts with other numbers or operators are never nearly the same: "12 - 3?" and "12 + 3?" are two questions.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..folding import fold

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

NEAR = 0.8  # Jaccard similarity from which two texts count as one
_N = 4  # characters of an n-gram
_BANDS, _ROWS = 32, 4  # a pair of similarity 0.8 shares no band with a probability below 1e-7
_FACTOR = 0x9E3779B97F4A7C15  # odd, of the golden ratio: multiplying by it spreads bits


def shingles(text: str) -> Hashes:
    """Shape (n,): hashes of the text's distinct n-grams of 4 characters, sorted; a shorter text is one n-gram. Signs
    that end or divide sentences do not count."""
    import numpy as np

    plain = " ".join(re.sub(r"[.,;:!?…]", " ", fold(text)).split())
    points = np.frombuffer(f" {plain} ".encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    n = max(1, len(points) - _N + 1)
    hashes = np.zeros(n, np.uint64)
    for offset in range(min(_N, len(points))):
        hashes = _mixed(hashes + points[offset : offset + n])
    return np.unique(hashes)


def jaccard(a: Hashes, b: Hashes) -> float:
    """The share of the n-grams of both that both have."""
    import numpy as np

    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def near_pairs(texts: Sequence[str], least: float = NEAR) -> Iterator[tuple[int, int, float]]:
    """Pairs (i, j, similarity) of texts with i < j, in the order of i and j."""
    sets, figures = [shingles(text) for text in texts], [numbers(text) for text in texts]
    for i, j in _candidates(sets):
        if figures[i] == figures[j] and (similarity := jaccard(sets[i], sets[j])) >= least:
            yield i, j, similarity


def near_between(texts: Sequence[str], others: Sequence[str], least: float = NEAR) -> dict[int, int]:
    """For each of `texts` that is near one of `others`: the first such."""
    found: dict[int, int] = {}
    for i, j, _ in near_pairs((*texts, *others), least):
        if i < len(texts) <= j:
            found.setdefault(i, j - len(texts))
    return found


def numbers(text: str) -> list[str]:
    """The numbers and operators of a text."""
    return re.findall(r"\d+|[-+*/×÷=<>^%]", text)


def _candidates(sets: Sequence[Hashes]) -> list[tuple[int, int]]:
    """Pairs whose signatures agree in a band."""
    import numpy as np

    seeds = _mixed(np.arange(1, _BANDS * _ROWS + 1, dtype=np.uint64))
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, hashes in enumerate(sets):
        signature = np.array([_mixed(hashes ^ seed).min() for seed in seeds], np.uint64).reshape(_BANDS, _ROWS)
        for band, rows in enumerate(signature):
            buckets[band, rows.tobytes()].append(number)
    pairs = {(i, j) for bucket in buckets.values() for at, i in enumerate(bucket) for j in bucket[at + 1 :]}
    return sorted(pairs)


def _mixed(values: Hashes) -> Hashes:
    import numpy as np

    with np.errstate(over="ignore"):  # modulo 2**64 is what is meant
        values = (values ^ (values >> np.uint64(29))) * np.uint64(_FACTOR)
        return values ^ (values >> np.uint64(32))
