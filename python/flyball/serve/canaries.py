"""Canaries of a server: what became of their answers is compared with the others', and acted on."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import Error
from ..learn.adapters import Registry
from ..learn.canary import Outcome, compare, token_cycles
from ..store import Project, Store, StoredAdapter

if TYPE_CHECKING:
    from .records import Records

_JUDGE_SECONDS = 10.0
_MOST_KNOWN = 256  # comparisons
_END_OF_TIME = 1 << 53
_WHO = "server"


class Canaries:
    """`how`: off, rollback (of those that are worse), or promote as well (those that are surely not)."""

    def __init__(self, how: str, records: Records) -> None:
        self.how = how
        self._records = records
        self._judged = 0.0
        self._evidence: dict[tuple[str, str], Mapping[str, Any]] = {}  # by project and digest, the latest last

    def evidence(self, project: str, digest: str) -> Mapping[str, Any]:
        """Of the latest comparison; empty where there was none."""
        return self._evidence.get((project, digest), {})

    async def judge(self, canaries: Iterable[tuple[str, StoredAdapter]]) -> None:
        """Compare each project's canary, not too often."""
        now = time.monotonic()
        if self.how == "off" or self._records.store is None or now - self._judged < _JUDGE_SECONDS:
            return
        self._judged = now
        for name, row in canaries:
            try:
                await asyncio.to_thread(self._judge, self._records.store, name, row)
            except Error as error:
                self._records.failed(error)

    def _judge(self, store: Store, name: str, row: StoredAdapter) -> None:
        project = store.project(name)
        verdict = compare(outcomes(project, row), row.share or 0, may_promote=self.how == "promote")
        self._evidence.pop((name, row.digest), None)
        self._evidence[name, row.digest] = verdict.evidence
        while len(self._evidence) > _MOST_KNOWN:
            del self._evidence[next(iter(self._evidence))]
        Registry(project, _WHO, self._records.tell).compared(row.digest, verdict)


def outcomes(project: Project, canary: StoredAdapter) -> list[Outcome]:
    """What became of the requests since the canary began; of users that disagree, a bad rating counts."""
    ratings: dict[str, list[bool]] = defaultdict(list)
    for each in project.feedback.between(canary.changed, _END_OF_TIME):
        if each.request_id is not None and each.verdict is not None:
            ratings[each.request_id].append(each.verdict == "good")
    return [
        Outcome(
            request.arm or "",
            request.request_key or request.id,
            request.state == "failed",
            all(said) if (said := ratings.get(request.id)) else None,
            token_cycles(request.decode_cycles, request.n_generated_tokens),
        )
        for request in project.requests.compared(canary.changed)
    ]
