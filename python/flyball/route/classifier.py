"""Logistic regression over vectors, with a temperature that was fitted to what it had not seen: equal data, equal bits.

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

N_FOLDS = 5
_RIDGE = 3e-4
_STEPS = 300
_ONE_THREAD = 1 << 18  # multiplications
_DIGITS = 6  # of a probability that is told: what is decided can be decided again from it


@dataclass(frozen=True)
class Classifier:
    """`weights` of shape (features + 1, labels): the last row is the bias."""

    labels: tuple[str, ...]
    weights: Matrix
    temperature: float

    def probabilities(self, vectors: Matrix) -> list[dict[str, float]]:
        """For each row of (n, features) those of all labels, the likeliest first."""
        rows = _softmax(_with_bias(vectors) @ self.weights / self.temperature)
        return [_told(self.labels, row) for row in rows]


@dataclass(frozen=True)
class Trained:
    """A classifier, and what it says of each example when it was trained without it and its neighbors."""

    classifier: Classifier
    unseen: list[dict[str, float]]


def train(vectors: Matrix, labels: Sequence[str]) -> Trained:
    """From examples, whose vectors are (n, features). Neighbors in the list of a label are left out together, as
    people write variants of a text one after the other."""
    import numpy as np

    names = tuple(dict.fromkeys(labels))
    wanted = np.array([names.index(label) for label in labels])
    rows = _with_bias(vectors)
    products = (rows @ rows.T).astype(np.float64)
    folds = _folds(wanted)
    unseen = np.zeros((len(labels), len(names)))
    for fold in range(N_FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        shares = _fit(products[np.ix_(inside, inside)], wanted[inside], len(names))
        unseen[outside] = products[np.ix_(outside, inside)] @ shares
    temperature = _temperature(unseen, wanted)
    weights = rows.T @ _fit(products, wanted, len(names))
    told = [_told(names, row) for row in _softmax(unseen / temperature)]
    return Trained(Classifier(names, weights, temperature), told)


def _folds(wanted: Numbers) -> Numbers:
    """The fold of each example: blocks of neighbors in the list of its label."""
    import numpy as np

    folds = np.zeros(len(wanted), dtype=np.int64)
    for label in np.unique(wanted):
        (places,) = np.nonzero(wanted == label)
        folds[places] = np.arange(len(places)) * N_FOLDS // len(places)
    return folds


def _fit(products: Matrix, wanted: Numbers, n_labels: int) -> Matrix:
    """Each example's share in the weights: Nesterov's gradient descent of mean cross entropy and ridge."""
    import numpy as np

    n = len(wanted)
    target = np.eye(n_labels)[wanted]
    step = 1 / (float(np.abs(products).sum(axis=1).max()) / (2 * n) + _RIDGE)  # at most the inverse curvature
    shares = ahead = np.zeros((n, n_labels))
    for number in range(_STEPS):
        slope = (_softmax(_times(products, ahead)) - target) / n + _RIDGE * ahead
        before, shares = shares, ahead - step * slope
        ahead = shares + number / (number + 3) * (shares - before)
    return shares


def _times(left: Matrix, right: Matrix) -> Matrix:
    """The product of a large and a narrow matrix, in pieces that OpenBLAS computes with one thread: its threads cost
    more than they save here, and wait for each other where a server computes answers."""
    import numpy as np

    n_rows = max(1, _ONE_THREAD // right.size)
    return np.vstack([left[start : start + n_rows] @ right for start in range(0, len(left), n_rows)])


def _temperature(logits: Matrix, wanted: Numbers) -> float:
    """The one of a fixed list under which what was right is likeliest."""
    import numpy as np

    rows = np.arange(len(wanted))
    choices = [float(each) for each in np.geomspace(0.05, 20, 121)]
    losses = [-float(np.log(_softmax(logits / each)[rows, wanted] + 1e-12).mean()) for each in choices]
    return choices[int(np.argmin(losses))]


def _with_bias(vectors: Matrix) -> Matrix:
    import numpy as np

    return np.hstack([vectors, np.ones((len(vectors), 1), dtype=vectors.dtype)])


def _softmax(logits: Matrix) -> Matrix:
    import numpy as np

    powers: Matrix = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Matrix = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _told(names: Sequence[str], row: Any) -> dict[str, float]:
    found = {name: round(float(p), _DIGITS) for name, p in zip(names, row, strict=True)}
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))
