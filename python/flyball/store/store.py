"""The store: opening it, its projects, and whose a key is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NamedTuple, Self

import sqlalchemy as sa

from .. import files as folders
from ..errors import InvalidArgument, NotFound
from ..paths import AnyPath
from . import checks
from .adapters import Adapters
from .batches import Batches
from .cached_answers import CachedAnswers
from .corrections import RouteCorrections
from .database import BUSY_SECONDS, Database
from .deletions import Deletions
from .examples import Examples
from .feedback import FeedbackOfUsers
from .items import Items
from .keys import Key, Keys, hint, matching
from .memory import Memories
from .migrate import migrate
from .performance import PerformanceOfModels
from .presence import hold
from .receipts import Receipts
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
        self.keys = Keys(scope)
        self.requests = Requests(scope)
        self.receipts = Receipts(scope)
        self.examples = Examples(scope)
        self.feedback = FeedbackOfUsers(scope, self.examples)
        self.performance = PerformanceOfModels(scope)
        self.files = Files(scope)
        self.batches = Batches(scope)
        self.items = Items(scope)
        self.tasks = PerformanceAtTasks(scope)
        self.route_corrections = RouteCorrections(scope)
        self.adapters = Adapters(scope)
        self.memory = Memories(scope)
        self.deletions = Deletions(scope)
        self.cached_answers = CachedAnswers(scope)


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
        with self._database.reading() as connection:
            number = connection.execute(sa.select(projects.c.project_id).where(projects.c.name == name)).scalar()
        if number is None:
            raise NotFound(name, "no project has this name")
        return self._project(number, name)

    def create_project(self, name: str) -> Project:
        """A new project. Raises InvalidArgument if the name is taken."""
        checks.text("name", name)
        with self._database.writing() as connection:
            taken = connection.execute(sa.select(projects).where(projects.c.name == name)).first()
            if taken is not None:
                raise InvalidArgument("name", f"{name} is a project already")
            connection.execute(sa.insert(projects).values(name=name, created=self._clock()))
        return self.project(name)

    def projects(self) -> list[str]:
        """The names of all projects."""
        with self._database.reading() as connection:
            return list(connection.execute(sa.select(projects.c.name).order_by(projects.c.project_id)).scalars())

    def authenticate(self, secret: str) -> Authenticated | None:
        """The key of a secret and its project: the one question asked of all projects. None: no usable key."""
        chosen = sa.select(api_keys, projects.c.name.label("project")).join(projects)
        with self._database.reading() as connection:
            rows = connection.execute(chosen.where(api_keys.c.hint == hint(secret))).mappings().all()
        row = matching(rows, secret, self._clock())
        if row is None:
            return None
        return Authenticated(self._project(row["project_id"], row["project"]), record(Key, row))

    def has_keys(self) -> bool:
        """Whether there is a key that can be used, in any project."""
        usable = api_keys.c.revoked.is_(None) & (api_keys.c.expires.is_(None) | (api_keys.c.expires > self._clock()))
        with self._database.reading() as connection:
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

    def _project(self, number: int, name: str) -> Project:
        return Project(name, Scope(self._database, number, self._clock, self._instance, self._keep_text))

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
