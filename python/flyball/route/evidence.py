"""How well texts are read: right intents, what probabilities and floors are worth, what more examples would bring. All
of it on texts that were not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..evidence.stats import share_bounds, wilson_interval
from .examples import bundled
from .floors import CONFIDENCE
from .intents import Intents

_BINS = 5  # of probabilities


@dataclass(frozen=True)
class Accuracy:
    """A share of right intents with its interval (Wilson) at 95 %."""

    n: int
    n_right: int
    lower: float
    upper: float

    @classmethod
    def of(cls, right: Sequence[bool]) -> Accuracy:
        """Of texts that are read right or not."""
        return cls(len(right), sum(right), *wilson_interval(sum(right), len(right), CONFIDENCE))

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.n_right / self.n if self.n else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"n": self.n, "share": self.share, "lower": self.lower, "upper": self.upper}


def accuracy(intents: Intents, wanted: Callable[[str], bool] = lambda text: True) -> Accuracy:
    """Of the examples that were left out in turn. `wanted`: of which texts."""
    rows = zip(intents.texts, intents.unseen, intents.labels, strict=True)
    return Accuracy.of([next(iter(p)) == label for text, p, label in rows if wanted(text)])


def by_language(intents: Intents) -> dict[str, Accuracy]:
    """Of the examples that come with Flyball, by language; of others nobody says which theirs is."""
    languages = {each.text: each.language for each in bundled()}
    of = {name: accuracy(intents, lambda text, name=name: languages.get(text) == name) for name in ("tr", "en")}  # type: ignore[misc]
    return {name: found for name, found in of.items() if found.n}


def curve(intents: Intents, sizes: Sequence[int]) -> dict[int, Accuracy]:
    """By how many of the examples there are: what is right of all, left out in turn."""
    training, found = intents.training(), {}
    for size in (each for each in sizes if each <= len(training.labels)):
        pairs = zip(training.unseen(size), training.labels, strict=True)
        found[size] = Accuracy.of([next(iter(p)) == label for p, label in pairs])
    return found


@dataclass(frozen=True)
class Bin:
    """Texts whose likeliest intent has a probability of `low` to `high`: what was said on average, and what was so."""

    low: float
    high: float
    said: float
    right: Accuracy

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "right": self.right.as_dict()}


def calibration(intents: Intents) -> list[Bin]:
    """By equal parts of probability; parts without a text are left out."""
    said = [(*next(iter(p.items())), label) for p, label in zip(intents.unseen, intents.labels, strict=True)]
    bins = []
    for number in range(_BINS):
        low, high = number / _BINS, (number + 1) / _BINS
        rows = [(p, name == label) for name, p, label in said if low < p <= high]
        if rows:
            mean = sum(p for p, _ in rows) / len(rows)
            bins.append(Bin(low, high, mean, Accuracy.of([right for _, right in rows])))
    return bins


@dataclass(frozen=True)
class FloorRow:
    """What a floor of all intents does to texts that were not seen."""

    floor: float
    n_accepted: int
    n_wrong: int
    upper: float


def floor_table(intents: Intents, floors: Sequence[float]) -> list[FloorRow]:
    """For each floor: texts that it takes, how many of them go wrong, and the bound of that share at 95 %."""
    said = [(*next(iter(p.items())), label) for p, label in zip(intents.unseen, intents.labels, strict=True)]
    rows = []
    for floor in floors:
        wrong = [name != label for name, p, label in said if p >= floor]
        rows.append(FloorRow(floor, len(wrong), sum(wrong), share_bounds(sum(wrong), len(wrong), CONFIDENCE)[1]))
    return rows
