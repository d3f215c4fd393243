"""What keeps answers: bytes in places, of one project each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..store.cached_answers import CachedGroup

MS_AN_HOUR = 3_600_000


class Place(NamedTuple):
    """Where an answer is kept. `fingerprint`: of the model; `adapter`: fingerprint of the answer's, "" for none."""

    project: str
    fingerprint: str
    adapter: str
    key: str


class Answers(Protocol):
    """Safe for threads. Each method may raise Error: then nothing is known, and nothing was changed.

    in_store   whether put() and touch() go into the store's transactions
    n_evicted  answers that made room for others, as far as is known
    n_bytes    of all projects, as far as is known; None: it is not
    """

    in_store: bool

    @property
    def n_evicted(self) -> int: ...

    @property
    def n_bytes(self) -> int | None: ...

    def limit(self, hours: int, most_bytes: int) -> None:
        """For how long answers are kept from now on, and how many bytes a project may have, where that is bounded."""

    def get(self, place: Place) -> bytes | None:
        """The answer at a place."""

    def put(self, place: Place, content: bytes) -> None:
        """Keep an answer."""

    def touch(self, place: Place) -> None:
        """It was used: others go first."""

    def remove(self, place: Place) -> None:
        """Drop one."""

    def purge(self, project: str, fingerprint: str = "", adapter: str = "") -> int:
        """Drop a project's, of the models and adapters whose fingerprints begin so; how many they were."""

    def groups(self, project: str) -> Sequence[CachedGroup]:
        """What a project has, by model and adapter."""

    def tidy(self) -> None:
        """Drop what has expired; to be called now and then."""

    def close(self) -> None:
        """Let connections go."""
