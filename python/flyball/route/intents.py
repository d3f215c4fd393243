"""What a text wants: probabilities of the registry's intents, learned from its examples and from corrections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine.model import Model
from . import words
from .classifier import Classifier
from .floors import Floors, certify
from .registry import Registry
from .training import Training

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.floating[Any]]]

Vectors = Callable[[Sequence[str]], "Matrix"]
_MOST_CHARACTERS = 500  # that a model reads of a text


@dataclass(frozen=True)
class Intents:
    """A trained reader of texts. `floors`: what the registry's floors are worth on texts that it had not seen;
    `unseen`: what it says of these, which are `texts`, and `labels` what they are."""

    classifier: Classifier
    floors: Floors
    texts: tuple[str, ...] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    unseen: list[dict[str, float]] = field(repr=False)
    n_corrections: int
    _vectors: Vectors = field(repr=False)

    @classmethod
    def learn(
        cls, registry: Registry, corrections: Iterable[tuple[str, str]] = (), judge: Model | None = None
    ) -> Intents:
        """From a registry's examples, and corrections (text, intent); those of intents that are gone are left out.
        `judge`: the model that the registry names, where it reads with one. Takes a while, and reads only."""
        whose = {text: name for name, intent in registry.intents.items() for text in intent.examples}
        known = {text: name for text, name in corrections if name in registry.intents}
        whose |= known
        texts, labels = tuple(whose), tuple(whose.values())
        vectors = _reader(registry, judge)
        classifier, unseen = _training(texts, labels, vectors).train()
        floors = {name: intent.floor for name, intent in registry.intents.items()}
        certified = certify(unseen, labels, floors, registry.error)
        return cls(classifier, certified, texts, labels, unseen, len(known), vectors)

    def training(self) -> Training:
        """What it was learned from; its vectors are made anew."""
        return _training(self.texts, self.labels, self._vectors)

    def probabilities(self, text: str) -> dict[str, float]:
        """Of all intents, the likeliest first; empty for a text without a word."""
        if not text.strip():
            return {}
        return self.classifier.probabilities(self._vectors([text]))[0]


def _training(texts: Sequence[str], labels: Sequence[str], vectors: Vectors) -> Training:
    """Variants of a text are found by its characters, however it is read."""
    counts = words.counts(texts)
    by_rarity = vectors is words.counts
    return Training(counts if by_rarity else vectors(texts), labels, words.variants(counts), by_rarity)


def _reader(registry: Registry, judge: Model | None) -> Vectors:
    if registry.by == "ngrams":
        return words.counts
    assert judge is not None
    model, names = judge, tuple(registry.intents)
    if registry.by == "embedding":
        return lambda texts: model.embed([text[:_MOST_CHARACTERS] for text in texts]).astype("float64")
    return lambda texts: label_scores(model, names, texts)


def label_scores(model: Model, names: Sequence[str], texts: Sequence[str]) -> Matrix:
    """Shape (n, labels): how much likelier the model finds each name after a text than after none, in nats. What it
    thinks of the names themselves does not count then, and a model that is asked again gives the same bits."""
    import numpy as np

    endings = [model.tokenize(f" {name.replace('_', ' ')}", add_special=False) for name in names]

    def scores(text: str) -> list[float]:
        prompt = model.tokenize(f"Text: {text}\nTopic:")
        told = [model.score([*prompt, *ending]).logprobs[-len(ending) :] for ending in endings]
        return [sum(each) for each in told]

    without = np.array(scores(""))
    found = np.array([scores(text[:_MOST_CHARACTERS]) for text in texts]) - without
    centered: Matrix = found - found.mean(axis=1, keepdims=True)
    return centered
