"""A classifier with its temperature, and what is said of each example by one that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .classifier import Classifier, softmax, told

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]

N_FOLDS = 5


@dataclass(frozen=True)
class Training:
    """Examples to learn from.

    vectors    (n, features)
    labels     of each example
    variants   for each the number of the first example that it is a variant of
    by_rarity  as of Classifier.fit()
    """

    vectors: Matrix
    labels: Sequence[str]
    variants: Numbers
    by_rarity: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels, each once."""
        return tuple(dict.fromkeys(self.labels))

    @cached_property
    def _wanted(self) -> Numbers:
        import numpy as np

        return np.array([self.names.index(label) for label in self.labels])

    @cached_property
    def _folds(self) -> Numbers:
        """The fold of each example: blocks of neighbors in the list of its label, as people write variants one after
        the other. A variant goes where the first one is, unless most of its label's examples would be there then."""
        import numpy as np

        folds = np.zeros(len(self._wanted), dtype=np.int64)
        blocks = [np.flatnonzero(self._wanted == label) for label in range(len(self.names))]
        for block in blocks:
            folds[block] = np.arange(len(block)) * N_FOLDS // len(block)
        for number, first in enumerate(self.variants):
            block = blocks[self._wanted[number]]
            if np.count_nonzero(self.variants[block] == first) <= len(block) / 2:
                folds[number] = folds[first]
        return folds

    def train(self) -> tuple[Classifier, list[dict[str, float]]]:
        """The classifier of all examples, and unseen() of them."""
        logits = self._logits(len(self.labels))
        whole = Classifier.fit(self.vectors, self._wanted, self.names, self.by_rarity)
        return replace(whole, temperature=_temperature(logits, self._wanted)), self._told(logits)

    def unseen(self, n: int) -> list[dict[str, float]]:
        """Of each example the probabilities by a classifier that has seen neither it nor its neighbors and variants,
        with a temperature that was fitted to others. `n`: there were only so many examples to learn from, taken by
        chance, of which it has seen those that were not left out with this one."""
        return self._told(self._logits(n))

    def _logits(self, n: int) -> Matrix:
        import numpy as np

        taken = np.random.default_rng(0).permutation(len(self.labels)) < n
        logits = np.zeros((len(self.labels), len(self.names)))
        for fold in range(N_FOLDS):
            inside, outside = taken & (self._folds != fold), self._folds == fold
            seen = Classifier.fit(self.vectors[inside], self._wanted[inside], self.names, self.by_rarity)
            logits[outside] = seen.logits(self.vectors[outside])
        return logits

    def _told(self, logits: Matrix) -> list[dict[str, float]]:
        import numpy as np

        others = [self._folds != fold for fold in range(N_FOLDS)]
        temperatures = np.array([_temperature(logits[other], self._wanted[other]) for other in others])
        return told(self.names, logits / temperatures[self._folds, None])


def _temperature(logits: Matrix, wanted: Numbers) -> float:
    """The one of a fixed list under which what was right is likeliest."""
    import numpy as np

    rows = np.arange(len(wanted))
    choices = [float(each) for each in np.geomspace(0.05, 20, 121)]
    losses = [-float(np.log(softmax(logits / each)[rows, wanted] + 1e-12).mean()) for each in choices]
    return choices[int(np.argmin(losses))]
