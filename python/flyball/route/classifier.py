"""Logistic regression over vectors: equal data, equal bits.

Weights are sums of the examples' vectors, so that training works on the examples' products alone: small matrices,
however many features there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]

_RIDGE = 3e-4
_STEPS = 300
_ONE_THREAD = 1 << 18  # multiplications
_DIGITS = 6  # of a probability that is told: what is decided can be decided again from it


@dataclass(frozen=True)
class Classifier:
    """`weights` of shape (features + 1, labels): the last row is the bias. `rarity` of shape (features,): what each
    count weighs; None: vectors are no counts, and stay as they are."""

    labels: tuple[str, ...]
    weights: Matrix
    rarity: Matrix | None
    temperature: float = 1.0

    @classmethod
    def fit(cls, vectors: Matrix, wanted: Numbers, labels: tuple[str, ...], by_rarity: bool) -> Classifier:
        """From examples: vectors of shape (n, features), and the numbers of their labels. `by_rarity`: they are counts,
        and what few examples have weighs more."""
        rarity = _rarity(vectors) if by_rarity else None
        rows = _rows(vectors, rarity)
        return cls(labels, rows.T @ _shares(_products(rows), wanted, len(labels)), rarity)

    def logits(self, vectors: Matrix) -> Matrix:
        """Shape (n, labels), before the temperature."""
        found: Matrix = _rows(vectors, self.rarity) @ self.weights
        return found

    def probabilities(self, vectors: Matrix) -> list[dict[str, float]]:
        """For each row of (n, features) those of all labels, the likeliest first."""
        return told(self.labels, self.logits(vectors) / self.temperature)


def told(labels: Sequence[str], logits: Matrix) -> list[dict[str, float]]:
    """The probabilities of each row, the likeliest first."""
    rows = [{name: round(float(p), _DIGITS) for name, p in zip(labels, row, strict=True)} for row in softmax(logits)]
    return [dict(sorted(row.items(), key=lambda each: (-each[1], each[0]))) for row in rows]


def softmax(logits: Matrix) -> Matrix:
    """Of each row."""
    import numpy as np

    powers: Matrix = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _rarity(counts: Matrix) -> Matrix:
    """The inverse document frequency of each feature, as if one more text had all of them."""
    import numpy as np

    n_having = np.count_nonzero(counts, axis=0)
    found: Matrix = (np.log((1 + len(counts)) / (1 + n_having)) + 1).astype(counts.dtype)
    return found


def _rows(vectors: Matrix, rarity: Matrix | None) -> Matrix:
    """Vectors, counts weighed and each row of length 1, with a 1 for the bias."""
    import numpy as np

    rows = np.ones((len(vectors), vectors.shape[1] + 1), dtype=vectors.dtype)
    found = rows[:, :-1]
    np.multiply(vectors, 1 if rarity is None else rarity, out=found)
    if rarity is not None:
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found /= np.where(lengths > 0, lengths, 1)
    return rows


def _products(rows: Matrix) -> Matrix:
    """Of each row with each; a feature of one row alone counts in its length only, and most are such."""
    import numpy as np

    shared = rows[:, np.count_nonzero(rows, axis=0) > 1]
    products = (shared @ shared.T).astype(np.float64)
    np.fill_diagonal(products, np.square(rows, dtype=np.float64).sum(axis=1))
    return products


def _shares(products: Matrix, wanted: Numbers, n_labels: int) -> Matrix:
    """Each example's share in the weights: Nesterov's gradient descent of mean cross entropy and ridge."""
    import numpy as np

    n = len(wanted)
    target = np.eye(n_labels)[wanted]
    step = 1 / (float(np.abs(products).sum(axis=1).max()) / (2 * n) + _RIDGE)  # at most the inverse curvature
    shares = ahead = np.zeros((n, n_labels))
    for number in range(_STEPS):
        slope = (softmax(_times(products, ahead)) - target) / n + _RIDGE * ahead
        before, shares = shares, ahead - step * slope
        ahead = shares + number / (number + 3) * (shares - before)
    return shares


def _times(left: Matrix, right: Matrix) -> Matrix:
    """The product of a large and a narrow matrix, in pieces that OpenBLAS computes with one thread: its threads cost
    more than they save here, and wait for each other where a server computes answers."""
    import numpy as np

    n_rows = max(1, _ONE_THREAD // right.size)
    return np.vstack([left[start : start + n_rows] @ right for start in range(0, len(left), n_rows)])
