"""The store: opening it, its projects, and whose a key is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Self

import sqlalchemy as sa

from .. import files as folders
from ..errors import InvalidArgument, NotFound
from ..paths import AnyPath
from . import checks, removal
from .adapters import Adapters
from .admin_log import CREATED, LOCAL, AdminLog
from .batches import Batches
from .cached_answers import CachedAnswers
from .corrections import RouteCorrections
from .database import BUSY_SECONDS, Database, OneProject
from .deletions import Deletions
from .examples import Examples
from .feedback import FeedbackOfUsers
from .isolation import ACROSS
from .items import Items
from .keys import Key, Keys, hint, matching
from .live_settings import LiveSettings
from .memory import Memories
from .migrate import migrate
from .performance import PerformanceOfModels
from .plugins import Plugins
from .presence import hold
from .quotas import Quotas
from .receipts import Receipts
from .removal import Removal
from .requests import Requests
from .schema import api_keys, projects
from .scope import Scope, now_ms, record
from .tasks import PerformanceAtTasks
from .uploads import Files

DEFAULT_PROJECT = "default"


class Project:
    """The rows of one project; none of its methods sees or changes another's."""

    def __init__(self, name: str, scope: Scope) -> None:
        self.name = name
        self.log = AdminLog(scope)
        self.keys = Keys(scope, self.log)
        self.quotas = Quotas(scope, self.log)
        self.live_settings = LiveSettings(scope, self.log)
        self.requests = Requests(scope)
        self.receipts = Receipts(scope)
        self.examples = Examples(scope)
        self.feedback = FeedbackOfUsers(scope, self.examples)
        self.performance = PerformanceOfModels(scope)
        self.files = Files(scope, self.quotas)
        self.batches = Batches(scope)
        self.items = Items(scope)
        self.tasks = PerformanceAtTasks(scope)
        self.route_corrections = RouteCorrections(scope)
        self.adapters = Adapters(scope)
        self.memory = Memories(scope, self.quotas)
        self.deletions = Deletions(scope)
        self.cached_answers = CachedAnswers(scope)
        self.plugins = Plugins(scope)


class Authenticated(NamedTuple):
    """Whom a secret belongs to."""

    project: Project
    key: Key


class Store:
    """One database, safe for threads. `Store.open` makes it."""

    def __init__(self, database: Database, instance: str | None, keep_text: bool, clock: Callable[[], int]) -> None:
        self._database = database
        self._instance = instance
        self._keep_text = keep_text
        self._clock = clock
        self._release: Callable[[], None] | None = None
        self.where = database.where

    @classmethod
    def open(
        cls,
        url: AnyPath | None = None,
        *,
        instance: str | None = None,
        keep_text: bool = False,
        clock: Callable[[], int] = now_ms,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Store:
        """Open a database, make it where there is none, and bring it to the newest schema.

        `url` is the path of an SQLite file, sqlite:///PATH, or postgresql://USER@HOST/NAME; without it
        flyball/store.sqlite in the user's state folder. A server gives the same `instance` at every start, one that no
        other running server has: what it left open is marked as interrupted, what it had claimed is free. A tool gives
        none.

        Raises Unavailable (locked, unreachable), FileError (not writable, full), FormatError (damaged), Unsupported (of
        a newer Flyball, of another program) or InvalidArgument.
        """
        database = Database(default_path() if url is None else url, busy_seconds)
        store = cls(database, instance, keep_text, clock)
        try:
            migrate(database)
            if instance is not None:
                store._release = hold(database, instance)
                store._recover()
        except BaseException:
            store.close()
            raise
        return store

    def project(self, name: str = DEFAULT_PROJECT) -> Project:
        """The project of this name. Raises NotFound."""
        return self._project(self._number(name), name)

    def create_project(self, name: str, by: str = LOCAL) -> Project:
        """A new project. Raises InvalidArgument if the name is taken, or was a deleted project's."""
        checks.text("name", name)
        with self.together():
            log = self.project().log
            last = log.last_project(name)
            with self._database.reading(ACROSS) as connection:
                known = {row.name: row.project_id for row in connection.execute(sa.select(projects))}
            if name in known:
                raise InvalidArgument("name", f"{name} is a project already")
            number = max(last, *known.values()) + 1  # never one that servers may know as another's
            with self._database.writing(number) as connection:
                connection.execute(sa.insert(projects).values(project_id=number, name=name, created=self._clock()))
            log.append(by, CREATED, name, {}, number)
        return self._project(number, name)

    def delete_project(self, name: str, by: str = LOCAL, also: Mapping[str, Any] | None = None) -> Removal:
        """Delete a project with every row that it has; the default project's log then says what there was.

        `also`: what else was removed of it, for that record. Raises NotFound, or InvalidArgument for the default one.
        """
        if name == DEFAULT_PROJECT:
            raise InvalidArgument("name", f"{name} is the project of whoever has no token; it cannot be deleted")
        return removal.remove(self, self._scope(self._number(name)), name, by, also or {})

    def projects(self) -> list[str]:
        """The names of all projects."""
        with self._database.reading(ACROSS) as connection:
            return list(connection.execute(sa.select(projects.c.name).order_by(projects.c.project_id)).scalars())

    def authenticate(self, secret: str) -> Authenticated | None:
        """The key of a secret and its project: the one question asked of all projects. None: no usable key."""
        chosen = sa.select(api_keys, projects.c.name.label("project")).join(projects)
        with self._database.reading(ACROSS) as connection:
            rows = connection.execute(chosen.where(api_keys.c.hint == hint(secret))).mappings().all()
        row = matching(rows, secret, self._clock())
        if row is None:
            return None
        return Authenticated(self._project(row["project_id"], row["project"]), record(Key, row))

    def has_keys(self) -> bool:
        """Whether there is a key that can be used, in any project."""
        usable = api_keys.c.revoked.is_(None) & (api_keys.c.expires.is_(None) | (api_keys.c.expires > self._clock()))
        with self._database.reading(ACROSS) as connection:
            return connection.execute(sa.select(api_keys.c.id).where(usable).limit(1)).first() is not None

    def together(self) -> AbstractContextManager[None]:
        """What this thread does with the store in the block is committed at its end, or not at all if it raises."""
        return self._database.together()

    def close(self) -> None:
        """Close all connections; a second time does nothing."""
        if self._release is not None:
            self._release()
            self._release = None
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def checkpoint(self) -> bool | None:
        """Let SQLite overwrite what was deleted. False: another program reads it all the time; None: no SQLite."""
        return self._database.checkpoint() if self._database.is_sqlite else None

    def _number(self, name: str) -> int:
        with self._database.reading(ACROSS) as connection:
            number = connection.execute(sa.select(projects.c.project_id).where(projects.c.name == name)).scalar()
        if number is None:
            raise NotFound(name, "no project has this name")
        return int(number)

    def _project(self, number: int, name: str) -> Project:
        return Project(name, self._scope(number))

    def _scope(self, number: int) -> Scope:
        return Scope(OneProject(self._database, number), self._clock, self._instance, self._keep_text)

    def _recover(self) -> None:
        """What this instance left when it ended is free for others."""
        for name in self.projects():
            project = self.project(name)
            project.requests.recover()
            project.items.recover()


def default_path() -> str:
    """store.sqlite in the user's state folder. Raises InvalidArgument for a user without a home."""
    folder = folders.state_folder()
    if folder is None:
        raise InvalidArgument("url", "is needed: this user has no home folder; give the path of a database")
    return str(folder / "store.sqlite")
