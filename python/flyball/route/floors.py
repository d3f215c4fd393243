"""What floors are worth, by counts: of the examples that a floor takes, how many go to a wrong intent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..evidence.stats import share_bounds

CONFIDENCE = 0.95
_GRID = tuple(number / 100 for number in range(99, 4, -1))


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
    """Of all intents. `together`: of the texts that are taken by those with a floor above 0; `suggested`: a floor
    that would be certified for all intents alike, None where there is none."""

    of: Mapping[str, Floor]
    together: Floor
    n: int
    suggested: float | None


def certify(
    unseen: Sequence[Mapping[str, float]], labels: Sequence[str], floors: Mapping[str, float], error: float
) -> Floors:
    """From what a classifier says of examples that it was not trained with, and from their labels."""
    said = [next(iter(each.items())) for each in unseen]
    taken = {
        name: [label != name for (likeliest, p), label in zip(said, labels, strict=True)
               if likeliest == name and p >= floor]
        for name, floor in floors.items()
    }  # fmt: skip
    of = {name: _floor(floors[name], wrong, error) for name, wrong in taken.items()}
    promised = [name for name, floor in floors.items() if floor > 0]
    lowest = min((floors[name] for name in promised), default=0.0)
    together = _floor(lowest, [is_wrong for name in promised for is_wrong in taken[name]], error)
    return Floors(of, together, len(labels), _suggested(said, labels, error))


def _suggested(said: Sequence[tuple[str, float]], labels: Sequence[str], error: float) -> float | None:
    """The last one, from the highest down, before the first that fails: tests in an order that is fixed beforehand may
    each have the whole risk (fixed sequence). One that takes too few texts to ever pass is no test."""
    found = None
    for floor in _GRID:
        wrong = [name != label for (name, p), label in zip(said, labels, strict=True) if p >= floor]
        if share_bounds(0, len(wrong), CONFIDENCE)[1] > error:
            continue
        if not _floor(floor, wrong, error).certified:
            break
        found = floor
    return found


def _floor(floor: float, wrong: Sequence[bool], error: float) -> Floor:
    """`wrong`: of each text that it takes, whether that is no text of the intent."""
    upper = share_bounds(sum(wrong), len(wrong), CONFIDENCE)[1]
    return Floor(floor, len(wrong), sum(wrong), round(upper, 6), bool(wrong) and upper <= error)
