"""What one record took beside another: paired by turn and agent, and shared out among the parts of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidArgument
from ..load.quantiles import quantile
from .agents import NAMES
from .record import Record
from .split import PARTS, Split

TURN, REST = "turn", "rest of turn"


@dataclass(frozen=True)
class Added:
    """Milliseconds that the second record took more, on average of n pairs; `p50` with one-sided bounds at 95 %.

    A bound is None where there are too few pairs.
    """

    name: str
    n: int
    before_ms: float
    after_ms: float
    added_ms: float
    p50_ms: float
    low_ms: float | None
    high_ms: float | None
    parts: dict[str, float]

    @property
    def beyond_chance(self) -> str:
        """slower or faster where a bound of the median shows it, else ""."""
        if self.low_ms is not None and self.low_ms > 0:
            return "slower"
        return "faster" if self.high_ms is not None and self.high_ms < 0 else ""


@dataclass(frozen=True)
class Difference:
    """`notes`: why the difference may not be time alone; empty if it is.

    `added`: of each agent, of what is no agent's, and of the turn, which is their sum.
    """

    added: tuple[Added, ...]
    n_turns: int
    n_answers: int
    n_equal_answers: int
    n_digests: int
    n_equal_digests: int
    n_equal_conflicts: int
    share_cards: tuple[int, int]
    verdicts: tuple[str, str]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"added": [asdict(each) | {"beyond_chance": each.beyond_chance} for each in self.added]}


def difference(a: Record, b: Record) -> Difference:
    """From the first to the second. Raises InvalidArgument if they have no turn in common."""
    one, other = ({turn.turn: turn for turn in record.turns} for record in (a, b))
    turns = sorted(one.keys() & other.keys())
    if not turns:
        raise InvalidArgument("pilot diff", "has two records without a common turn")
    before, after = a.calls, b.calls
    pairs = [(before[turn, name], after[turn, name]) for turn in turns for name in NAMES]
    added = [
        _added(
            name,
            [(before[t, name].latency_ms, after[t, name].latency_ms) for t in turns],
            [(before[t, name].split, after[t, name].split) for t in turns],
        )
        for name in NAMES
    ]
    whole = [(one[t].turn_duration_ms, other[t].turn_duration_ms) for t in turns]
    splits = [(one[t].split, other[t].split) for t in turns]
    rests = [(_rest(a, t), _rest(b, t)) for t in turns]
    added.append(_added(REST, [(x.total, y.total) for x, y in rests], rests))
    added.append(_added(TURN, whole, splits))
    digests = [(x.digest, y.digest) for x, y in pairs if x.digest is not None and y.digest is not None]
    n_equal = sum(x.text == y.text and x.question == y.question for x, y in pairs)
    return Difference(
        added=tuple(added),
        n_turns=len(turns),
        n_answers=len(pairs),
        n_equal_answers=n_equal,
        n_digests=len(digests),
        n_equal_digests=sum(x == y for x, y in digests),
        n_equal_conflicts=sum(one[t].conflicts == other[t].conflicts for t in turns),
        share_cards=(sum(one[t].share_card for t in turns), sum(other[t].share_card for t in turns)),
        verdicts=(str(a.decision.verdict), str(b.decision.verdict)),
        notes=tuple(_notes(a, b, len(turns), len(pairs) - n_equal)),
    )


def _added(name: str, times: Sequence[tuple[float, float]], splits: Sequence[tuple[Split, Split]]) -> Added:
    n = len(times)
    found = quantile(sorted(y - x for x, y in times), 0.5)
    low, high = (None if abs(bound) == float("inf") else bound for bound in (found.low, found.high))
    before, after = sum(x for x, _ in times) / n, sum(y for _, y in times) / n
    parts = {part: sum(getattr(y, part) - getattr(x, part) for x, y in splits) / n for part in PARTS}
    return Added(name, n, before, after, after - before, found.value, low, high, parts)


def _rest(record: Record, turn: int) -> Split:
    """What a turn took beside its calls."""
    whole = next(each for each in record.turns if each.turn == turn)
    return Split(*(max(0.0, getattr(whole.split, p) - sum(getattr(c.split, p) for c in whole.calls)) for p in PARTS))


def _notes(a: Record, b: Record, n_turns: int, n_other: int) -> list[str]:
    notes = []
    if n_other:
        notes.append(f"{n_other} answers or their questions differ: not the same path, so this is not time alone")
    for what, get in _CONDITIONS:
        if (x := get(a)) != (y := get(b)):
            notes.append(f"{what}: {x} and {y}")
    if len(a.turns) != n_turns or len(b.turns) != n_turns:
        notes.append(f"only the {n_turns} common turns of {len(a.turns)} and {len(b.turns)} are compared")
    return notes


def _names(record: Record) -> str:
    return ", ".join(f"{name}={record.models[name].name}" for name in NAMES)


_CONDITIONS: tuple[tuple[str, Callable[[Record], str]], ...] = (
    ("other scenes", lambda record: record.scene[:12]),
    ("other seeds", lambda record: str(record.seed)),
    ("other builds", lambda record: f"{record.version} {record.build[:12]}"),
    ("other machines", lambda record: record.machine),
    ("other profiles", lambda record: record.profile.name),
    ("other models", _names),
)
