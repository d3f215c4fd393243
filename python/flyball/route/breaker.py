"""A circuit breaker: a model that fails is left alone for a while, then tried with one request.

The failures that it answers to: a success that did not reset the count, a cooldown without an end, a trial whose
request went away and blocked all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FAILURES = 3  # in a row
COOLDOWN_SECONDS = 10.0
LONGEST_SECONDS = 300.0  # that doubled cooldowns may reach


@dataclass
class Breaker:
    """Of one model, with or without an adapter. `clock`: seconds that only grow; `tell` gets the reason of each change.

    closed: requests pass; open: none does until `opens_at`; half open: one is on trial.
    """

    clock: Callable[[], float]
    tell: Callable[[str], None]
    n_failed: int = 0
    cooldown: float = 0.0
    opens_at: float = 0.0
    trial_since: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing is known against the model."""
        return self.cooldown == 0

    @property
    def lets_through(self) -> bool:
        """Whether a request may be sent. A trial that nobody has ended for a cooldown's time is forgotten."""
        now = self.clock()
        if self.is_closed:
            return True
        is_on_trial = self.trial_since is not None and now < self.trial_since + max(self.cooldown, COOLDOWN_SECONDS)
        return now >= self.opens_at and not is_on_trial

    def begun(self) -> None:
        """A request was sent: where the breaker is not closed, it is the trial."""
        if not self.is_closed:
            self.trial_since = self.clock()
            self.tell("ROUTE_MODEL_TRIED")

    def ended(self, ok: bool | None) -> None:
        """A request has ended: well, badly, or, None, without saying anything of the model (its client left)."""
        self.trial_since = None
        if ok:
            self.n_failed = 0
            if not self.is_closed:
                self.cooldown = 0.0
                self.tell("ROUTE_MODEL_CLOSED")
        elif ok is False:
            self.n_failed += 1
            if self.n_failed >= FAILURES and self.clock() >= self.opens_at:
                self.cooldown = min(LONGEST_SECONDS, 2 * self.cooldown or COOLDOWN_SECONDS)
                self.opens_at = self.clock() + self.cooldown
                self.tell("ROUTE_MODEL_OPENED")
