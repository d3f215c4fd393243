"""Answers in the store: each project has as much room as the other, and the least recently used go first."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ..store import CachedGroup, Project, Store
from ..store.scope import now_ms
from .answers import MS_AN_HOUR, Place

_SHARE = 16  # of the room, after which it is looked at again


class StoredAnswers:
    """As answers.Answers says. `most_bytes` of a project may be exceeded by a sixteenth for a while."""

    in_store = True

    def __init__(self, store: Store, kept_ms: int, most_bytes: int) -> None:
        self.n_evicted = 0
        self._store = store
        self._kept_ms = kept_ms
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._projects: dict[str, Project] = {}
        self._sizes: dict[str, int] = {}  # of projects, when they were looked at last, and what was put since then
        self._added: dict[str, int] = {}

    @property
    def n_bytes(self) -> int | None:
        """Of the projects that this server has written to."""
        with self._lock:
            return sum(self._sizes.values())

    def limit(self, hours: int, most_bytes: int) -> None:
        """For how long answers are kept from now on, and how many bytes a project may have."""
        with self._lock:
            self._kept_ms, self._most_bytes = hours * MS_AN_HOUR, most_bytes
            self._added = dict.fromkeys(self._sizes, most_bytes)  # so that the next one that is put makes room

    def get(self, place: Place) -> bytes | None:
        """The answer at a place."""
        return self._project(place.project).cached_answers.get(place.key)

    def put(self, place: Place, content: bytes) -> None:
        """Keep an answer."""
        answers = self._project(place.project).cached_answers
        expires = now_ms() + self._kept_ms
        answers.put(place.key, content, fingerprint=place.fingerprint, adapter=place.adapter, expires=expires)
        if self._is_due(place.project, len(content)):
            n_evicted = answers.trim(self._most_bytes)
            self._looked(place.project, answers.n_bytes(), n_evicted)

    def touch(self, place: Place) -> None:
        """It was used: others go first."""
        self._project(place.project).cached_answers.touch(place.key)

    def remove(self, place: Place) -> None:
        """Drop one."""
        self._project(place.project).cached_answers.remove(place.key)

    def purge(self, project: str, fingerprint: str = "", adapter: str = "") -> int:
        """Drop a project's, of the models and adapters whose fingerprints begin so; how many they were."""
        answers = self._project(project).cached_answers
        n_purged = answers.purge(fingerprint, adapter)
        self._looked(project, answers.n_bytes())
        return n_purged

    def groups(self, project: str) -> Sequence[CachedGroup]:
        """What a project has, by model and adapter."""
        return self._project(project).cached_answers.groups()

    def tidy(self) -> None:
        """Drop what has expired."""
        for name in self._store.projects():
            answers = self._project(name).cached_answers
            answers.purge_expired()
            self._looked(name, answers.n_bytes())

    def close(self) -> None:
        """The store is closed by whoever opened it."""

    def _is_due(self, project: str, n_bytes: int) -> bool:
        with self._lock:
            if project not in self._sizes:
                return True
            self._sizes[project] += n_bytes
            self._added[project] += n_bytes
            return self._added[project] > self._most_bytes // _SHARE

    def _looked(self, project: str, n_bytes: int, n_evicted: int = 0) -> None:
        with self._lock:
            self._sizes[project] = n_bytes
            self._added[project] = 0
            self.n_evicted += n_evicted

    def _project(self, name: str) -> Project:
        with self._lock:
            if (project := self._projects.get(name)) is not None:
                return project
        project = self._store.project(name)
        with self._lock:
            return self._projects.setdefault(name, project)
