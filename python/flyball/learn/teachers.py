"""A teacher with several API keys: each is asked in turn, none more often than it may be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import Error, Unavailable
from ..scorecard.subjects import About, Answer, Subject, Usage

_REST_S = 30.0  # of a key that was refused
_MOST_REFUSALS = 5  # in a row, for each key


class Rotation:
    """Subjects that are one but for their keys. `per_minute`: questions to each."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._subjects = list(subjects)
        self._gap_s = 60.0 / per_minute
        self._free_at = [0.0] * len(self._subjects)
        self._clock, self._sleep = clock, sleep

    @property
    def about(self) -> About:
        """Of the first: they are one model."""
        return self._subjects[0].about

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """From the key that has rested longest; a refused one rests for half a minute. Raises Unavailable."""
        last: Error | None = None
        for _ in range(_MOST_REFUSALS * len(self._subjects)):
            number = min(range(len(self._subjects)), key=self._free_at.__getitem__)
            self._sleep(max(0.0, self._free_at[number] - self._clock()))
            self._free_at[number] = self._clock() + self._gap_s
            try:
                return self._subjects[number].answer(prompt, seed, max_tokens)
            except Error as error:
                if error.code != Unavailable.code:
                    raise
                last = error
                self._free_at[number] = self._clock() + _REST_S
        assert last is not None
        raise Unavailable(last.where, f"refused all {len(self._subjects)} keys again and again: {last.what}")

    def usage(self) -> Usage:
        """Of the first."""
        return self._subjects[0].usage()
