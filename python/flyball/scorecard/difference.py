"""What changed between two cards, beyond what chance explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .card import Card
from .verdict import Size, extremes

_ORDER = (Size.KEEP_SMALL, Size.TRY_3_8B, Size.NEED_BIGGER)


@dataclass(frozen=True)
class Change:
    """A figure in both cards. `direction`: better, worse, or "" where the intervals overlap or do not compare."""

    name: str
    before: str
    after: str
    direction: str


@dataclass(frozen=True)
class Difference:
    """`gained`, `lost`: checks that only the second, only the first card passes; `vanished`, `added`: checks."""

    changes: tuple[Change, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    vanished: tuple[str, ...]
    added: tuple[str, ...]
    n_equal: int  # answers with the same digest
    n_both: int  # answers of both cards

    @property
    def worse(self) -> bool:
        """Whether something got worse, or is not asked any more."""
        return bool(self.vanished) or any(change.direction == "worse" for change in self.changes)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"worse": self.worse}


def difference(a: Card, b: Card) -> Difference:
    """From the first card to the second."""
    same_checks = a.checks == b.checks
    changes = [_verdict(a, b)]
    for name, before in a.shares.items():
        after = b.shares[name]
        direction = _beyond(before.bounds, after.bounds) if same_checks else ""
        changes.append(Change(name, f"{before.passed}/{before.n}", f"{after.passed}/{after.n}", direction))
    one_machine = bool(a.hardware) and a.hardware == b.hardware
    changes += [
        _speed("latency s", a.latency_s, b.latency_s, one_machine, -1),
        _speed("tok/s", a.tokens_s, b.tokens_s, one_machine, 1),
        Change("peak MB", _mb(a.peak_bytes), _mb(b.peak_bytes), ""),
    ]
    both = a.passed.keys() & b.passed.keys()
    digests = {(answer.check, answer.seed): answer.digest for answer in a.answers}
    common = [answer for answer in b.answers if (answer.check, answer.seed) in digests]
    return Difference(
        changes=tuple(changes),
        gained=tuple(sorted(name for name in both if b.passed[name] and not a.passed[name])),
        lost=tuple(sorted(name for name in both if a.passed[name] and not b.passed[name])),
        vanished=tuple(sorted(a.passed.keys() - both)),
        added=tuple(sorted(b.passed.keys() - both)),
        n_equal=sum(x.digest is not None and x.digest == digests[x.check, x.seed] for x in common),
        n_both=len(common),
    )


def _verdict(a: Card, b: Card) -> Change:
    before, after = a.decision.size, b.decision.size
    direction = ""
    if before != after and Size.UNDECIDED not in (before, after):
        direction = "better" if _ORDER.index(after) < _ORDER.index(before) else "worse"
    return Change("verdict", str(before), str(after), direction)


def _speed(name: str, before: Sequence[float], after: Sequence[float], comparable: bool, sign: int) -> Change:
    """Better or worse if the repeats do not overlap; `sign`: 1 if more is better, else -1."""
    direction = ""
    if comparable and before and after:
        one, other = sorted(sign * value for value in before), sorted(sign * value for value in after)
        direction = _beyond((one[0], one[-1]), (other[0], other[-1]))
    return Change(name, extremes(before) or "-", extremes(after) or "-", direction)


def _beyond(before: tuple[float, float], after: tuple[float, float]) -> str:
    if after[0] > before[1]:
        return "better"
    return "worse" if after[1] < before[0] else ""


def _mb(n_bytes: int | None) -> str:
    return "-" if n_bytes is None else f"{n_bytes / 1e6:.0f}"
