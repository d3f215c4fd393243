"""What the actions of `flyball route` work with: registry, project, what texts want, what is known of the models."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotFound
from . import common

if TYPE_CHECKING:
    from ..route.choice import Question
    from ..route.history import History
    from ..route.intents import Intents
    from ..route.registry import Registry
    from ..serve.models import Entry
    from ..store import Project

FILE = "routes.toml"
_HALF_LIVES = 10


@dataclass(frozen=True)
class Inputs:
    """As a server has them when it begins."""

    registry: Registry
    intents: Intents
    history: History

    def question(self, text: str) -> Question:
        """As a server asks it where all models are well and nothing is too long."""
        from ..route.question import question_of

        return question_of(self.registry, self.intents.floors, self.intents.probabilities(text), self.history)


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Inputs]:
    """From a command's flags; a model that reads texts is there meanwhile. Raises Error for what cannot be used."""
    from ..route.intents import Intents

    registry = registry_of(args)
    registry.check(_served(args), _is_there)
    with project_of(args) as project, ExitStack() as stack:
        said = [] if project is None else [(each.text, each.intent) for each in project.route_corrections.all()]
        judge = None
        if registry.judge:
            named = next(each for each in _entries(args) if registry.judge in (each.name, *each.aliases))
            judge = stack.enter_context(named.load())
        yield Inputs(registry, Intents.learn(registry, said, judge), _history(registry, project))


def registry_of(args: argparse.Namespace) -> Registry:
    """The registry, whose names nobody has looked at yet."""
    from ..route.registry import load

    settings = common.read_settings(args)
    path = args.routes or settings["serve.routes"].value or FILE
    if not Path(path).expanduser().exists():
        raise NotFound(str(path), "does not exist; --routes names a registry, docs/routing.md shows one")
    return load(path)


@contextmanager
def project_of(args: argparse.Namespace, create: bool = False) -> Iterator[Project | None]:
    """The project in the servers' store; None where there is no store, unless it is to be made."""
    from .serve import store_url

    url = store_url(common.read_settings(args))
    if url is None or ("://" not in url and not Path(url).expanduser().exists() and not create):
        yield None
        return
    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which the store needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    with Store.open(url) as store:
        yield store.project(args.project)


def suggestion(registry: Registry, floor: float | None) -> str:
    """What to write of a floor that would be certified for all intents."""
    wanted = f"{100 * registry.error:g} % wrong"
    if floor is None:
        return f"no floor for all intents can be certified for at most {wanted}: give more examples\n"
    return f"floor {floor:g} for all intents would be certified for at most {wanted}\n"


def _served(args: argparse.Namespace) -> list[str]:
    """The names that a server with these words and this configuration would have."""
    return [name for entry in _entries(args) for name in (entry.name, *entry.aliases)]


def _entries(args: argparse.Namespace) -> list[Entry]:
    from .serve import entries_of

    try:
        return entries_of(args)
    except ModuleNotFoundError as error:
        what = f"is missing, which servers need: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None


def _is_there(_model: str, digest: str) -> bool:
    from ..learn.folders import file_of

    return file_of(digest) is not None


def _history(registry: Registry, project: Project | None) -> History:
    from ..route.history import History

    today = datetime.datetime.now(datetime.UTC).date()
    start = today - datetime.timedelta(days=int(_HALF_LIVES * registry.half_life_days))
    rows = [] if project is None else project.tasks.since(start)
    return History.read(rows, today, registry.half_life_days)
