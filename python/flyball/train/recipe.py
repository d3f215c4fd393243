"""What a training run is told: method and numbers, checked, with the defaults that were measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidArgument

METHODS = ("sft", "kto", "dpo")


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained.

    method        sft: learn the answers; dpo: prefer them to the rejected ones, with sft's loss beside it; kto: rows
                  that are good or bad, in no pairs
    rank, alpha   of the adapter; alpha / rank scales it
    rate          learning rate; rises over the first tenth of the steps, then falls linearly to a tenth
    batch         examples of a step
    beta          of dpo and kto: how far the answers may move away from the base's
    replay        how many answers of the base to other questions are trained on beside the examples, so that it keeps
                  them
    keep          weight of these against the examples
    longest       tokens of an example, its prompt included
    clip          greatest norm of a step's gradient
    seed          of the initial weights and of the order of examples
    """

    method: str = "sft"
    rank: int = 8
    alpha: float = 16.0
    rate: float = 3e-4
    steps: int = 60
    batch: int = 8
    beta: float = 0.1
    replay: int = 48
    keep: float = 1.0
    longest: int = 1024
    clip: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidArgument("method", f"is {self.method!r}, must be one of {', '.join(METHODS)}")
        _whole("rank", self.rank, 1, 4096)
        _whole("steps", self.steps, 1, 1_000_000)
        _whole("batch", self.batch, 1, 4096)
        _whole("replay", self.replay, 0, 100_000)
        _whole("longest", self.longest, 2, 1 << 20)
        _whole("seed", self.seed, 0, 2**63 - 1)
        for name, most in (("alpha", 1e6), ("rate", 1.0), ("beta", 100.0), ("keep", 100.0), ("clip", 1e6)):
            value = getattr(self, name)
            if not 0 < value <= most:  # NaN is not
                raise InvalidArgument(name, f"is {value!r}, must be above 0 and at most {most:g}")
        if self.method == "kto" and self.batch < 2:
            raise InvalidArgument("batch", "is 1; kto needs 2, since it compares with the answers of other questions")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = -(-self.steps // 10)
        if step < rising:
            return self.rate * (step + 1) / rising
        return self.rate * (0.1 + 0.9 * (self.steps - step) / (self.steps - rising))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgument(name, f"is {value!r}, must be an integer from {least} to {most}")
