"""Metrics of adapters in Prometheus' words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ..errors import Error
from ..learn.canary import CANARY, CONTROL, E_LIMIT
from .adapter_counts import NONE, Standing, results, standings
from .observing import OUTCOMES

if TYPE_CHECKING:
    from ..store import StoredAdapter
    from .server import Server

_MODEL, _DIGEST = "model_name", "digest"
_PLACE = ("project", _MODEL, _DIGEST)


class AdapterExposition:
    """`read()` before `collect()`: the store is asked in another thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._standings: list[Standing] = []

    def read(self) -> None:
        """Look into the store. Where it does not answer, what was last seen stays."""
        store = self._server.records.store
        if store is None or self._server.settings.adapters == "off":
            return
        try:
            self._standings = standings(store)
        except Error as error:
            self._server.records.failed(error)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """All families."""
        yield from self._answers()
        yield from self._in_use()
        yield from self._canaries()
        changes = CounterMetricFamily(
            "flyball:adapter_changes", "Adapters that came into use or were taken back, by all servers of the store",
            labels=["project", "change", "by"],
        )  # fmt: skip
        for standing in self._standings:
            for (change, by), n in standing.changes.items():
                changes.add_metric([standing.project, change, by], n)
        yield changes

    def _answers(self) -> Iterator[CounterMetricFamily]:
        counts = self._server.observe.adapters
        places = dict.fromkeys([*((served.name, NONE) for served in self._server.models), *counts.tokens])
        answers = CounterMetricFamily(
            "flyball:adapter_answers", "Answers that have ended, by adapter", labels=[_MODEL, _DIGEST, "outcome"]
        )
        tokens = CounterMetricFamily("flyball:adapter_tokens", "Their tokens", labels=[_MODEL, _DIGEST])
        for model, digest in places:
            tokens.add_metric([model, digest], counts.tokens[model, digest])
            for outcome in OUTCOMES:
                answers.add_metric([model, digest, outcome], counts.answers[model, digest, outcome])
        yield answers
        yield tokens

    def _in_use(self) -> Iterator[GaugeMetricFamily]:
        about = GaugeMetricFamily("flyball:adapter_info", "What answers beside the model", labels=[*_PLACE, "state"])
        for place, row in self._rows():
            about.add_metric([*place, row.state], 1)
        yield about

    def _canaries(self) -> Iterator[GaugeMetricFamily]:
        share = GaugeMetricFamily("flyball:canary_share", "Percent of the requests", labels=_PLACE)
        answers = GaugeMetricFamily("flyball:canary_answers", "Answers that are compared", labels=[*_PLACE, "side"])
        compared = GaugeMetricFamily(
            "flyball:canary_results", "What the canary has won and lost against the rest",
            labels=[*_PLACE, "test", "result"],
        )  # fmt: skip
        evidence = GaugeMetricFamily(
            "flyball:canary_evidence", "Evidence that it is worse; at the limit it is rolled back",
            labels=[*_PLACE, "test"],
        )  # fmt: skip
        limit = GaugeMetricFamily("flyball:canary_evidence_limit", "From which on it is rolled back", labels=_PLACE)
        for place, row in self._rows():
            if row.state != CANARY:
                continue
            share.add_metric(place, row.share or 0)
            known = self._server.adapters.canaries.evidence(place[0], row.digest)
            for side in (CANARY, CONTROL):
                answers.add_metric([*place, side], known.get("answers", {}).get(side, 0))
            for test, won, lost in results(known):
                compared.add_metric([*place, test, "won"], won)
                compared.add_metric([*place, test, "lost"], lost)
                evidence.add_metric([*place, test], known.get("e", {}).get(test, 1.0))
            limit.add_metric(place, E_LIMIT)
        yield from (share, answers, compared, evidence, limit)

    def _rows(self) -> Iterator[tuple[list[str], StoredAdapter]]:
        """Each adapter in use, with its project and every name that its model is served under; "": it is not loaded."""
        names: dict[str, list[str]] = {}
        for served in self._server.models:
            names.setdefault(served.model.info.fingerprint, []).append(served.name)
        for standing in self._standings:
            for row in standing.in_use:
                for name in names.get(row.fingerprint, [""]):
                    yield [standing.project, name, row.digest], row
