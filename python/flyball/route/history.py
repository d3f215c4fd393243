"""What the store has of models at tasks, as candidates of a choice: older days count less."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .score import Candidate

if TYPE_CHECKING:
    from ..store import TaskPerformance

_PRIOR_STRENGTH = 4.0
_TOKENS = 128.0  # of an answer of a task that has none yet


@dataclass
class Sums:
    """Of a model at a task, or at all of them; each day's times a weight."""

    answers: float = 0.0
    ok: float = 0.0
    judged: float = 0.0
    good: float = 0.0
    tokens: float = 0.0
    ms: float = 0.0

    def add(self, row: TaskPerformance, weight: float) -> None:
        """Add a day."""
        self.answers += weight * row.n_answers
        self.ok += weight * row.n_ok
        self.judged += weight * row.n_judged
        self.good += weight * row.n_good
        self.tokens += weight * row.n_generated_tokens
        self.ms += weight * row.ms


@dataclass
class History:
    """Sums by (task, model, adapter), by model and adapter, and by task. The adapter "" stands for whatever the model
    answers with where a route names none: it has them all."""

    at: dict[tuple[str, str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    of: dict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    tasks: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))

    @classmethod
    def read(cls, rows: Iterable[TaskPerformance], today: datetime.date, half_life_days: float) -> History:
        """From the store's rows. Of a model whose file was replaced, the newest file's alone count."""
        listed = list(rows)
        newest = {row.model: row.fingerprint for row in listed}
        found = cls()
        for row in listed:
            if row.fingerprint != newest[row.model]:
                continue
            weight = 0.5 ** (max(0, (today - row.day).days) / half_life_days)
            found.tasks[row.task].add(row, weight)
            for adapter in {row.adapter, ""}:
                found.at[row.task, row.model, adapter].add(row, weight)
                found.of[row.model, adapter].add(row, weight)
        return found

    def prior(self, model: str, adapter: str) -> float:
        """The share of good answers to expect of a model at a task that it is new to: half, moved by the others."""
        sums = self.of.get((model, adapter), Sums())
        good, judged = max(0.0, sums.good), max(0.0, sums.judged)
        return round((0.5 * _PRIOR_STRENGTH + good) / (_PRIOR_STRENGTH + max(good, judged)), 6)

    def candidate(self, task: str, model: str, adapter: str = "") -> Candidate:
        """With what is recorded; whether it can be asked is for others to say."""
        sums = self.at.get((task, model, adapter), Sums())
        good = max(0.0, sums.good)
        return Candidate(
            model,
            prior=self.prior(model, adapter),
            judged=round(max(good, sums.judged), 6),
            good=round(good, 6),
            failed=round(max(0.0, sums.answers - sums.ok), 6),
            ms=self.ms(task, model, adapter),
        )

    def ms(self, task: str, model: str, adapter: str) -> float | None:
        """What an answer will take: the model's time for a token times the task's tokens, so that long answers to one
        model's share do not count against it. None: it has given none."""
        sums = self.at.get((task, model, adapter))
        if sums is None or sums.tokens <= 0:
            sums = self.of.get((model, adapter), Sums())
        if sums.tokens <= 0:
            return None
        whole = self.tasks.get(task, Sums())
        n_tokens = whole.tokens / whole.answers if whole.answers > 0 and whole.tokens > 0 else _TOKENS
        return round(sums.ms / sums.tokens * n_tokens, 3)
