"""How models perform, per day."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import checks
from .histogram import Histogram
from .schema import first_token_times, performance
from .scope import Scope

_MS_A_DAY = 86_400_000
_MOST_ADDED = 1 << 53  # far above a day, and below what 1000 sums could overflow


@dataclass(frozen=True)
class Performance:
    """The answers of a model on a day (UTC). Cycles per token are quotients of these sums."""

    day: datetime.date
    fingerprint: str
    n_answers: int
    n_prompt_tokens: int
    n_generated_tokens: int
    prefill_cycles: int
    decode_cycles: int
    first_token: Histogram


class PerformanceOfModels:
    """The performance in a project."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(
        self,
        fingerprint: str,
        *,
        n_answers: int,
        n_prompt_tokens: int,
        n_generated_tokens: int,
        prefill_cycles: int,
        decode_cycles: int,
        first_token_ms: Iterable[float] = (),
    ) -> None:
        """Add answers of today to a model's; the times until their first tokens go into a histogram."""
        sums = {
            "n_answers": n_answers,
            "n_prompt_tokens": n_prompt_tokens,
            "n_generated_tokens": n_generated_tokens,
            "prefill_cycles": prefill_cycles,
            "decode_cycles": decode_cycles,
        }
        row = {"day": day_of(self._scope.clock()), "fingerprint": checks.text("fingerprint", fingerprint)}
        added = {name: checks.integer(name, value, most=_MOST_ADDED) for name, value in sums.items()}
        times = Histogram.of(first_token_ms)
        with self._scope.database.writing() as connection:
            self._scope.add(connection, performance, row | added)
            for bucket, n in sorted(
                times.counts.items()
            ):  # one order for all servers: none waits for another in a circle
                self._scope.add(connection, first_token_times, row | {"bucket": bucket, "n": n})

    def between(self, start: datetime.date, end: datetime.date, fingerprint: str | None = None) -> list[Performance]:
        """The days from `start` to before `end`, in order, a row for each model."""
        with self._scope.database.reading() as connection:
            counts: dict[tuple[datetime.date, str], dict[int, int]] = defaultdict(dict)
            for row in connection.execute(self._select(first_token_times, start, end, fingerprint)).mappings():
                counts[row["day"], row["fingerprint"]][row["bucket"]] = row["n"]
            rows = connection.execute(self._select(performance, start, end, fingerprint)).mappings().all()
        return [
            Performance(
                **{name: value for name, value in row.items() if name != "project_id"},
                first_token=Histogram(counts[row["day"], row["fingerprint"]]),
            )
            for row in rows
        ]

    def _select(
        self, table: sa.Table, start: datetime.date, end: datetime.date, fingerprint: str | None
    ) -> sa.Select[Any]:
        where = [table.c.day >= start, table.c.day < end]
        if fingerprint is not None:
            where.append(table.c.fingerprint == fingerprint)
        return self._scope.select(table, *where).order_by(table.c.day, table.c.fingerprint)


def day_of(time_ms: int) -> datetime.date:
    """The day in UTC."""
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=time_ms // _MS_A_DAY)
