"""A teacher with several API keys: each is asked in turn, none more often than it may be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from ..errors import Error, Unavailable
from ..scorecard.openai_server import OpenAIServer, Refused
from ..scorecard.subjects import About, Answer, Subject, Usage

_REST_S = 30.0  # of a key that was refused and not told for how long
_LONGEST_REST_S = 900.0  # that is waited for
_MOST_REFUSALS = 5  # in a row, for each key
_AGAIN = (408, 409, 425, 429)  # statuses that another try may change, beside those from 500 on
_NO_KEY = (401, 402, 403)
_ANSWER_S, _SILENCE_S = 300.0, 60.0  # of one answer, at most


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
        self._free_at = [0.0] * len(self._subjects)  # infinite: the key is no good
        self._clock, self._sleep = clock, sleep

    @property
    def about(self) -> About:
        """Of the first: they are one model."""
        return self._subjects[0].about

    def answer(self, prompt: str, seed: int, max_tokens: int) -> Answer:
        """From the key that has rested longest. A refused one rests as long as the server says, else for half a minute;
        one that is not accepted is asked no more. Raises Unavailable, or what another key would not change."""
        last: Error | None = None
        for _ in range(_MOST_REFUSALS * len(self._subjects)):
            number = min(range(len(self._subjects)), key=self._free_at.__getitem__)
            rest = max(0.0, self._free_at[number] - self._clock())
            if rest > _LONGEST_REST_S and last is not None:
                why = "accepts none of the keys" if math.isinf(rest) else f"is to be asked again in {rest:.0f} s"
                raise Unavailable(last.where, f"{why}: {last.what}")
            self._sleep(min(rest, _LONGEST_REST_S))
            self._free_at[number] = self._clock() + self._gap_s
            try:
                return self._subjects[number].answer(prompt, seed, max_tokens)
            except Error as error:
                last = error
                self._free_at[number] = self._clock() + _rest(error)
        assert last is not None
        raise Unavailable(last.where, f"refused all {len(self._subjects)} keys again and again: {last.what}")

    def usage(self) -> Usage:
        """Of the first."""
        return self._subjects[0].usage()


def server_with_keys(url: str, name: str, keys: Sequence[str]) -> list[OpenAIServer]:
    """A server's model, once for each key. The first key that is accepted asks what the server has; raises Error where
    none is."""
    refused: list[Error] = []
    for key in keys:
        try:
            first = OpenAIServer(url, name, key, answer_s=_ANSWER_S, silence_s=_SILENCE_S)
        except Refused as error:
            _rest(error)
            refused.append(error)
        else:
            return [first.with_key(each) if each != key else first for each in keys]
    raise refused[-1]


def _rest(error: Error) -> float:
    """For how long a key rests after this error; raises an error that every key would get."""
    if error.code != Unavailable.code:
        raise error
    if not isinstance(error, Refused):  # it did not answer
        return _REST_S
    if error.status in _NO_KEY:
        return math.inf
    if error.status not in _AGAIN and error.status < 500:
        raise error
    return _REST_S if error.retry_after_s is None else error.retry_after_s
