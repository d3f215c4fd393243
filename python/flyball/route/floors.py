"""What floors are worth, by counts: of the examples that a floor takes, how many go to a wrong intent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evidence.stats import share_bounds

CONFIDENCE = 0.95
_GRID = tuple(number / 20 for number in range(1, 20))


@dataclass(frozen=True)
class Floor:
    """Of one intent, or of all. `upper`: the share of wrong routes is below it, at 95 %; `certified`: that is at most
    the share that is allowed."""

    floor: float
    n_accepted: int
    n_wrong: int
    upper: float
    certified: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class Floors:
    """Of all intents. `together`: of the texts that are taken by those with a floor above 0; `suggested`: the lowest
    floor that would be certified for all intents alike, None where none would."""

    of: Mapping[str, Floor]
    together: Floor
    n: int
    suggested: float | None


def certify(
    unseen: Sequence[Mapping[str, float]], labels: Sequence[str], floors: Mapping[str, float], error: float
) -> Floors:
    """From what a classifier says of examples that it was not trained with, and from their labels."""
    said = [next(iter(each.items())) for each in unseen]
    of = {
        name: _floor(floor, [label != name for (likeliest, p), label in zip(said, labels, strict=True)
                             if likeliest == name and p >= floor], error)
        for name, floor in floors.items()
    }  # fmt: skip
    promised = [each for each in of.values() if each.floor > 0]
    n, wrong = sum(each.n_accepted for each in promised), sum(each.n_wrong for each in promised)
    together = _counted(min((each.floor for each in promised), default=0.0), n, wrong, error, CONFIDENCE)
    return Floors(of, together, len(labels), _suggested(said, labels, error))


def _suggested(said: Sequence[tuple[str, float]], labels: Sequence[str], error: float) -> float | None:
    """Chosen from the same counts that certify it, so each candidate has its part of the allowed risk (Bonferroni)."""
    confidence = 1 - (1 - CONFIDENCE) / len(_GRID)
    for floor in _GRID:
        wrong = [name != label for (name, p), label in zip(said, labels, strict=True) if p >= floor]
        if _counted(floor, len(wrong), sum(wrong), error, confidence).certified:
            return floor
    return None


def _floor(floor: float, wrong: Sequence[bool], error: float) -> Floor:
    return _counted(floor, len(wrong), sum(wrong), error, CONFIDENCE)


def _counted(floor: float, n: int, n_wrong: int, error: float, confidence: float) -> Floor:
    upper = share_bounds(n_wrong, n, confidence)[1]
    return Floor(floor, n, n_wrong, round(upper, 6), n > 0 and upper <= error)
