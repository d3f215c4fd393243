"""Where the time of a call or a turn went."""

from __future__ import annotations

from dataclasses import dataclass

from ..bench.fields import Fields

PARTS = ("model", "harness", "io", "queue")


@dataclass(frozen=True)
class Split:
    """Milliseconds. `model`: computing, `queue`: waiting for it, `io`: network and files, `harness`: all else."""

    model: float = 0.0
    harness: float = 0.0
    io: float = 0.0
    queue: float = 0.0

    @property
    def total(self) -> float:
        """All parts."""
        return self.model + self.harness + self.io + self.queue

    @classmethod
    def within(cls, total: float, model: float, io: float, queue: float) -> Split:
        """Parts of a total: the harness has the rest. Parts that clocks of different kinds make too long are cut."""
        model = min(max(model, 0.0), total)
        queue = min(max(queue, 0.0), total - model)
        io = min(max(io, 0.0), total - model - queue)
        return cls(model, max(0.0, total - model - queue - io), io, queue)

    @classmethod
    def of(cls, found: Fields) -> Split:
        """From JSON (untrusted)."""
        found.only(*PARTS)
        return cls(*(milliseconds(found, name) for name in PARTS))


def milliseconds(found: Fields, name: str) -> float:
    """A time that is not negative."""
    value = found.number(name)
    return value if value >= 0 else found.wrong(name, f"is {value}, must not be negative")
