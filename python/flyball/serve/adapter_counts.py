"""What metrics say of adapters: what each has answered, and, from the store, what is in use and how that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..learn.canary import CANARY, CONTROL
from ..store import Store, StoredAdapter

MOST_DIGESTS = 32  # that are told apart: each is a label, and none ever goes; what comes later is counted together
MOST_PROJECTS = 64  # whose adapters metrics have, the oldest ones
NONE, OTHERS = "none", "other"
CHANGES = ("canary", "promoted", "rolled_back")
BY = ("command", "outcomes")  # of a person or a timer; of the canary's answers, by a server itself
TESTS = ("failures", "ratings", "speed")
_REASONS = {  # a restored adapter becomes active by the rollback of another, which is counted there
    ("canary", "ADAPTER_CANARY_BEGUN"): ("canary", "command"),
    ("canary", "ADAPTER_FORCED"): ("canary", "command"),
    ("active", "ADAPTER_PROMOTED"): ("promoted", "command"),
    ("active", "ADAPTER_FORCED"): ("promoted", "command"),
    ("active", "ADAPTER_CANARY_PASSED"): ("promoted", "outcomes"),
    ("rolled_back", "ADAPTER_ROLLED_BACK"): ("rolled_back", "command"),
    ("rolled_back", "ADAPTER_CANARY_WORSE"): ("rolled_back", "outcomes"),
}


class AdapterCounts:
    """Answers and tokens of a server by model and adapter: for the event loop's thread alone."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str, str]] = Counter()  # model, digest, outcome
        self.tokens: Counter[tuple[str, str]] = Counter()
        self._digests: set[str] = set()

    def ended(self, model: str, digest: str | None, outcome: str, n_tokens: int) -> None:
        """Count an answer; `digest` None: it had no adapter."""
        told = NONE if digest is None else self._told(digest)
        self.answers[model, told, outcome] += 1
        self.tokens[model, told] += n_tokens

    def _told(self, digest: str) -> str:
        if digest not in self._digests and len(self._digests) == MOST_DIGESTS:
            return OTHERS
        self._digests.add(digest)
        return digest


@dataclass(frozen=True)
class Standing:
    """The adapters of a project that answer now, and how often that changed: by CHANGES and BY."""

    project: str
    in_use: tuple[StoredAdapter, ...]
    changes: Mapping[tuple[str, str], int]


def standings(store: Store) -> list[Standing]:
    """Of the store's projects. Raises Error."""
    return [_standing(store, name) for name in store.projects()[:MOST_PROJECTS]]


def _standing(store: Store, name: str) -> Standing:
    rows = store.project(name).adapters
    changes = dict.fromkeys(((change, by) for change in CHANGES for by in BY), 0)
    for event, n in rows.event_counts().items():
        if event in _REASONS:
            changes[_REASONS[event]] += n
    return Standing(name, tuple(rows.in_use()), changes)


def results(evidence: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Of a canary's comparison: each test with what the canary has won and lost. A bad outcome is lost by its side; a
    pair of answers by the canary, where it was slower."""
    for test, member in zip(TESTS, ("failures", "bad"), strict=False):
        sides = evidence.get(member, {})
        yield test, sides.get(CONTROL, 0), sides.get(CANARY, 0)
    n_slower, n_pairs = evidence.get("slower_pairs", (0, 0))
    yield TESTS[2], n_pairs - n_slower, n_slower
