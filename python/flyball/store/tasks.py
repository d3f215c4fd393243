"""How models do at kinds of tasks, per day: sums alone, to which readers add what they believe beforehand."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import sqlalchemy as sa

from . import checks
from .performance import day_of
from .schema import model_performance_metrics as metrics
from .schema import requests
from .scope import Scope, record

MOST_ADDED = 1 << 53  # far above a day, and below what 1000 sums could overflow
_GOOD = "good"


@dataclass(frozen=True)
class TaskPerformance:
    """The answers of a model at a kind of task on a day (UTC). `task`: "" for what was not routed; `adapter`: "" for
    none. `n_judged` of the answers somebody has rated, `n_good` of them as good; `ms` of all answers together."""

    day: datetime.date
    task: str
    model: str
    fingerprint: str
    adapter: str
    n_answers: int
    n_ok: int
    n_judged: int
    n_good: int
    n_prompt_tokens: int
    n_generated_tokens: int
    cycles: int
    ms: int


class PerformanceAtTasks:
    """The performance at tasks in a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(
        self,
        task: str,
        model: str,
        fingerprint: str,
        adapter: str = "",
        *,
        ok: bool,
        n_prompt_tokens: int = 0,
        n_generated_tokens: int = 0,
        cycles: int = 0,
        ms: int = 0,
    ) -> None:
        """Add an answer of today; `ok`: it was not cut short by an error."""
        sums = {
            "n_prompt_tokens": n_prompt_tokens,
            "n_generated_tokens": n_generated_tokens,
            "cycles": cycles,
            "ms": ms,
        }
        added = {name: checks.integer(name, value, most=MOST_ADDED) for name, value in sums.items()}
        added |= {"n_answers": 1, "n_ok": int(ok), "n_judged": 0, "n_good": 0}
        row = {
            "day": day_of(self._scope.clock()),
            "task": checks.text("task", task, least=0),
            "model": checks.text("model", model),
            "fingerprint": checks.text("fingerprint", fingerprint),
            "adapter": checks.text("adapter", adapter, least=0),
        }
        with self._scope.database.writing() as connection:
            self._scope.add(connection, metrics, row | added)

    def judged(self, connection: sa.Connection, request_id: str, before: str | None, now: str | None) -> None:
        """Count the rating of an answer in the place of the one that it had before; None: none. An answer that is no
        longer known counts as it did."""
        counted = {
            "n_judged": (now is not None) - (before is not None),
            "n_good": (now == _GOOD) - (before == _GOOD),
        }
        if not any(counted.values()):
            return
        found = self._scope.select(requests, requests.c.id == request_id)
        row = connection.execute(found).mappings().one_or_none()
        if row is None or row["fingerprint"] is None:
            return
        about = {
            "day": day_of(row["finished"] or row["created"]),
            "task": row["task"] or "",
            "model": row["model"],
            "fingerprint": row["fingerprint"],
            "adapter": row["adapter"] or "",
        }
        nothing = dict.fromkeys(("n_answers", "n_ok", "n_prompt_tokens", "n_generated_tokens", "cycles", "ms"), 0)
        self._scope.add(connection, metrics, about | nothing | counted)

    def since(self, start: datetime.date) -> list[TaskPerformance]:
        """The days from `start` on, in order."""
        order = (metrics.c.day, metrics.c.task, metrics.c.model, metrics.c.fingerprint, metrics.c.adapter)
        wanted = self._scope.select(metrics, metrics.c.day >= start).order_by(*order)
        with self._scope.database.reading() as connection:
            return [record(TaskPerformance, row) for row in connection.execute(wanted).mappings()]
