"""A project's registry of adapters: what is added, gated, promoted and rolled back, each with its reason.

The journal gets what the store has: whoever reads either can say why an adapter answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, NotFound
from ..evidence.gates import Outcome, Verdict
from ..store import Project, StoredAdapter
from .folders import Manifest

Tell = Callable[[str, Mapping[str, object]], object]  # a journal's

_GATE = "gate"
_MOST_SHARE = 50  # percent: a canary is compared with the rest


class Registry:
    """The adapters of a project. `who` changes them: a user, or a server by itself."""

    def __init__(self, project: Project, who: str, tell: Tell = lambda reason_id, data: None) -> None:
        self._project = project
        self._rows = project.adapters
        self._who = who
        self._tell = tell

    def find(self, name: str) -> StoredAdapter:
        """The adapter of this digest, or its beginning, or name. Raises NotFound, or InvalidArgument for a beginning of
        several."""
        if (known := self._rows.get(name)) is not None:
            return known
        begins = [row for row in self._rows.all() if len(name) >= 8 and row.digest.startswith(name)]
        if len(begins) > 1:
            raise InvalidArgument(name, f"is the beginning of {len(begins)} digests; give more of it")
        if not begins:
            raise NotFound(name, f"no adapter of project {self._project.name} has this name or digest")
        return begins[0]

    def add(self, folder: Path, manifest: Manifest, name: str) -> StoredAdapter:
        """An adapter whose folder was opened."""
        row = StoredAdapter(
            digest=manifest.digest,
            name=name,
            fingerprint=manifest.base,
            parent=manifest.parent,
            state="trained",
            share=None,
            manifest=manifest.text,
            path=str(folder),
            created=0,
            changed=0,
        )
        evidence = {"name": name, "model": manifest.base, "parent": manifest.parent, "method": manifest.method}
        added = self._rows.add(row, "ADAPTER_ADDED", evidence, self._who)
        self._say("ADAPTER_ADDED", added, evidence)
        return added

    def active(self, fingerprint: str) -> StoredAdapter | None:
        """The one that answers for a model."""
        return next(
            (row for row in self._rows.in_use() if row.fingerprint == fingerprint and row.state == "active"), None
        )

    def gated(self, name: str, verdict: Verdict) -> StoredAdapter:
        """Store a verdict: an adapter that does not answer yet becomes a candidate by passing, rejected by failing."""
        row = self.find(name)
        evidence = verdict.as_dict()
        self._rows.note(row.digest, _GATE, verdict.reason_id, evidence, self._who)
        states = {Outcome.PASS: "candidate", Outcome.FAIL: "rejected"}
        if row.state not in ("active", "canary") and (state := states.get(verdict.outcome)) is not None:
            row = self._rows.move(row.digest, state, verdict.reason_id, {"message": verdict.message}, self._who)
        self._say(verdict.reason_id, row, evidence)
        return row

    def verdict(self, digest: str) -> Verdict | None:
        """Of its last gate."""
        last = None
        for event in self._rows.events(digest):
            last = event if event.event == _GATE else last
        return None if last is None else Verdict.from_dict(last.data)

    def promote(self, name: str, share: int | None = None, force: bool = False) -> StoredAdapter:
        """Let an adapter answer: all requests, or a `share` of them in percent, as a canary.

        Raises InvalidArgument without a passed gate, unless `force`, which is recorded.
        """
        row = self.find(name)
        if share is not None and not 1 <= share <= _MOST_SHARE:
            raise InvalidArgument("share", f"is {share}, must be from 1 to {_MOST_SHARE} percent")
        verdict = self.verdict(row.digest)
        has_passed = verdict is not None and verdict.outcome == Outcome.PASS
        if not has_passed and not force:
            why = "has seen no gate" if verdict is None else f"has not passed its gate: {verdict.message}"
            raise InvalidArgument(row.name, f"{why}; flyball adapters gate judges it, --force overrules")
        reason = "ADAPTER_FORCED" if not has_passed else "ADAPTER_PROMOTED" if share is None else "ADAPTER_CANARY_BEGUN"
        evidence = {"share": share, "gate": None if verdict is None else str(verdict.outcome), "forced": force}
        return self._move(row, "active" if share is None else "canary", reason, evidence, share)

    def compared(self, digest: str, verdict: Verdict) -> StoredAdapter | None:
        """Act on a comparison of a canary: it becomes active, or is rolled back. None: somebody else has acted, or the
        comparison does not suffice."""
        states = {Outcome.PASS: "active", Outcome.FAIL: "rolled_back"}
        row = self._rows.get(digest)
        if row is None or row.state != "canary" or verdict.outcome not in states:
            return None
        return self._move(row, states[verdict.outcome], verdict.reason_id, verdict.as_dict())

    def rollback(self, name: str, why: str = "") -> StoredAdapter:
        """Take an active adapter or a canary back: the one that it replaced answers again, or the model alone."""
        return self._move(self.find(name), "rolled_back", "ADAPTER_ROLLED_BACK", {"why": why})

    def retire(self, name: str, why: str = "") -> StoredAdapter:
        """Let an adapter answer no more; an active one leaves the model alone."""
        return self._move(self.find(name), "retired", "ADAPTER_RETIRED", {"why": why})

    def _move(
        self, row: StoredAdapter, state: str, reason_id: str, evidence: Mapping[str, Any], share: int | None = None
    ) -> StoredAdapter:
        moved = self._rows.move(row.digest, state, reason_id, evidence, self._who, share)
        self._say(reason_id, moved, evidence)
        return moved

    def _say(self, reason_id: str, row: StoredAdapter, evidence: Mapping[str, Any]) -> None:
        about = {"project": self._project.name, "digest": row.digest, "name": row.name, "state": row.state}
        self._tell(reason_id, about | {"who": self._who, "evidence": dict(evidence)})
