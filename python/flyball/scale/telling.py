"""What an edge tells of its replicas: metrics, the journal, and a file of alerts."""

from __future__ import annotations

import contextlib
import time
from collections import Counter as Counts
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..errors import Error
from ..journal import Journal
from ..load import alerts

_REASONS = {"ready": "REPLICA_JOINED", "lost": "REPLICA_LOST", "differs": "REPLICA_DIFFERS", "out": "REPLICA_MISMATCH"}
_STATES = ("unknown", "ready", "lost", "differs", "out")
_PAUSES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Telling:
    """Of one edge."""

    def __init__(self, alerts_path: str, journal: Journal | None = None) -> None:
        self._path = alerts_path
        self._journal = journal
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "flyball_edge_requests",
            "Requests that were handed on, by how they ended",
            ["ended"],
            registry=self.registry,
        )
        self.continued = Counter(
            "flyball_edge_continued", "Answers that another replica went on with", registry=self.registry
        )
        self.repeated = Counter(
            "flyball_edge_repeated",
            "Requests that were handed on once more",
            registry=self.registry,
        )
        self.pauses = Histogram(
            "flyball_edge_pause_seconds",
            "From the loss of a replica to the next event that a client got",
            registry=self.registry,
            buckets=_PAUSES,
        )
        self.verified = Counter(
            "flyball_edge_verifications",
            "Answers that another replica computed once more",
            ["result"],
            registry=self.registry,
        )
        self.mismatches = Counter(
            "flyball_edge_verification_mismatches",
            "Times that a replica gave what others do not give",
            registry=self.registry,
        )
        self._states = Gauge("flyball_edge_replicas", "Replicas by state", ["state"], registry=self.registry)
        for result in ("verified", "mismatch", "undecided"):
            self.verified.labels(result)

    def metrics(self, states: Iterable[str]) -> bytes:
        """In Prometheus' text format; `states`: of all replicas now."""
        counts = Counts(states)
        for state in _STATES:
            self._states.labels(state).set(counts[state])
        return generate_latest(self.registry)

    def replica(self, url: str, machine: str, state: str, why: str) -> None:
        """A replica is in another state."""
        which = {"replica": url, "machine": machine}
        self.journal(_REASONS[state], which | ({"why": why} if why else {}))
        if state == "out":
            self.mismatches.inc()
            self.alert("verification", "critical", _REASONS[state], **which, observed=why)

    def went_on(self, url: str, n_tokens: int) -> None:
        """A replica goes on with an answer of which so many tokens are known."""
        self.continued.inc()
        self.journal("REPLICA_CONTINUED", {"replica": url, "n_tokens": n_tokens})

    def journal(self, reason_id: str, data: dict[str, Any]) -> None:
        """Add an event; no answer fails for the journal."""
        if self._journal is not None:
            with contextlib.suppress(Error):
                self._journal.tell(reason_id, data)
                self._journal.flush()

    def alert(self, metric: str, severity: str, reason_id: str, **more: Any) -> None:
        """Add a line to the file of alerts."""
        entry = {
            "time": time.time(),
            "component": "edge",
            "metric": metric,
            "severity": severity,
            "reason_id": reason_id,
            **more,
        }
        with contextlib.suppress(Error):
            alerts.append(self._path, entry)
