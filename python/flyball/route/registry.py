"""The registry, routes.toml: the one table of intents, which says who answers, from which floor on, and who else."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .. import files
from ..errors import Error, FormatError
from ..learn.guardians import Guardian
from ..paths import AnyPath, expanded
from . import guards
from .examples import LEAST, MOST, read_examples
from .fields import Table
from .places import Places

AUTO = "auto"  # what requests name instead of a model
METHODS = ("ngrams", "labels", "embedding")
_MOST_BYTES = 1 << 20
_MOST_INTENTS = 64
_MOST_SERVED = 1024
_MOST_MODELS = 16  # of an intent, and
_LONGEST_CHAIN = 8  # of fallbacks: a choice with all of them is one line of the journal
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True)
class Intent:
    """A row. `fallback`: who answers where this one does not, an intent or a model; "" for the registry's fallback.

    floor      the least probability with which texts are taken for this
    task       under which performance is recorded
    needs      capabilities that a model must have
    budget_ms  the longest answer that is wanted; None: any
    guardians  names of those that look at its answers
    """

    name: str
    models: tuple[str, ...]
    adapter: str
    floor: float
    fallback: str
    task: str
    needs: tuple[str, ...]
    budget_ms: float | None
    examples: tuple[str, ...] = field(repr=False)
    guardians: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registry:
    """All rows. `digest` is of the file and of what it reads, `watched` are those files.

    fallback        the intent that answers whatever is no other's
    by, judge       how texts are read; the served model that does it where it is not by n-grams
    error           the share of wrong routes for which floors are certified
    explore         how much an uncertain quality counts for a model; 0: not at all
    explored_share  of choices that exploring may decide
    cost            what the slowest model's time counts against it
    half_life_days  after which a recorded answer counts half
    """

    path: str
    digest: str
    watched: tuple[Path, ...]
    intents: Mapping[str, Intent]
    fallback: str
    by: str
    judge: str
    error: float
    explore: float
    explored_share: float
    cost: float
    half_life_days: float
    capabilities: Mapping[str, tuple[str, ...]]
    places: Places = field(repr=False)
    guardians: Mapping[str, Guardian] = field(default_factory=dict)

    def guardians_of(self, intent: str) -> list[Guardian]:
        """Those that look at the answers of an intent, or of a model that is none."""
        row = self.intents.get(intent)
        return [] if row is None else [self.guardians[name] for name in row.guardians]

    def check(self, served: Collection[str], has_adapter: Callable[[str, str], bool] | None = None) -> None:
        """Raise FormatError for the first name that nothing answers to. `served`: the models' names;
        `has_adapter(model, digest)`, None: adapters are not looked at."""
        for intent in self.intents.values():
            place = ("intents", intent.name)
            if intent.name in served:
                self._refuse(f"intent {intent.name!r} has the name of a model; rename it", *place)
            for number, model in enumerate(intent.models):
                here = (*place, "models", number)
                if model not in served:
                    self._refuse(f"model {model!r} is not served; there are: {_listed(served)}", *here)
                if intent.adapter and has_adapter is not None and not has_adapter(model, intent.adapter):
                    what = f"adapter {intent.adapter[:12]} is not there for model {model!r}; see flyball adapters list"
                    self._refuse(what, *place, "adapter")
            if intent.fallback not in self.intents and intent.fallback not in served:
                what = f"fallback {intent.fallback!r} is neither an intent nor a served model"
                self._refuse(what, *place, "fallback")
        for model in self.capabilities:
            if model not in served:
                self._refuse(f"model {model!r} is not served; there are: {_listed(served)}", "models", model)
        for name, guardian in self.guardians.items():
            if guardian.judge and guardian.judge not in served:
                what = f"judge {guardian.judge!r} is not served; there are: {_listed(served)}"
                self._refuse(what, "guardians", name, "judge")
        if self.judge and self.judge not in served:
            self._refuse(f"judge {self.judge!r} is not served; there are: {_listed(served)}", "judge")
        if AUTO in served:
            self._refuse(f"a model is served as {AUTO!r}, which asks for routing; give it another name")

    def chain(self, name: str) -> list[str]:
        """Who is asked in turn, beginning with this intent; a model can only be the last."""
        names = [name]
        while (intent := self.intents.get(names[-1])) is not None and intent.fallback not in names:
            names.append(intent.fallback)
        return names

    def _refuse(self, what: str, *path: str | int) -> NoReturn:
        raise FormatError(f"{self.path}:{self.places.line(*path)}", what)


def load(path: AnyPath) -> Registry:
    """Read a registry. Raises FormatError with file and line for whatever is wrong inside it; names of models and
    adapters are for check()."""
    name = expanded(path)
    raw = files.read(name, _MOST_BYTES)
    text = _decoded(name, raw)
    try:
        members = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name}:{_line_of(text, error)}", f"is not TOML: {_without_line(error)}") from None
    table = Table(name, Places(text.replace("\r\n", "\n")), members)
    return _Reader(name, raw, table).registry()


class _Reader:
    def __init__(self, name: str, raw: bytes, table: Table) -> None:
        self._folder = Path(name).parent
        self._name = name
        self._table = table
        self._watched = [Path(name)]
        self._hash = hashlib.sha256(raw)

    def registry(self) -> Registry:
        top = self._table
        by = top.choice("by", METHODS, "ngrams")
        judge = top.text("judge", "")
        if bool(judge) == (by == "ngrams"):
            top.refuse("judge", f'goes with by = "labels" or "embedding", which need it; by is {by!r}')
        fallback = top.text("fallback")
        guardians = {name: self._guardian(name, table) for name, table in top.tables("guardians", guards.MOST).items()}
        tables = top.tables("intents", _MOST_INTENTS)
        if len(tables) < 2:
            top.refuse("intents", "must have at least two tables [intents.NAME]: of one there is nothing to choose")
        intents = {name: self._intent(name, table, fallback) for name, table in tables.items()}
        models = top.tables("models", _MOST_SERVED)
        capabilities = {name: table.names("capabilities") for name, table in models.items()}
        for table in models.values():
            table.refuse_unread()
        registry = Registry(
            self._name, "", (), intents, fallback, by, judge,
            error=top.number("error", 0.001, 0.5, 0.05),
            explore=top.number("explore", 0, 1, 0.0),
            explored_share=top.number("explored_share", 0, 1, 0.1),
            cost=top.number("cost", 0, 1, 0.1),
            half_life_days=top.number("half_life_days", 0.1, 3650, 14.0),
            capabilities=capabilities,
            places=top.places,
            guardians=guardians,
        )  # fmt: skip
        top.refuse_unread()
        self._check_fallbacks(registry)
        for name, intent in intents.items():
            for number, named in enumerate(intent.guardians):
                if named not in guardians:
                    what = f"has {named[:80]!r}, must be one of the guardians: {_listed(guardians)}"
                    top.refuse("intents", what, name, "guardians", number)
        self._check_examples(intents)
        whole = {"digest": self._hash.hexdigest(), "watched": tuple(self._watched)}
        return Registry(**{**vars(registry), **whole})

    def _intent(self, name: str, table: Table, fallback: str) -> Intent:
        if not _NAME.fullmatch(name):
            table.refuse("", f"intent {name[:80]!r} needs a name of letters, digits, '_', '-' and '.', at most 64")
        models = table.names("models", _MOST_MODELS)
        if not models:
            table.refuse("models", "must name at least one model")
        adapter = table.text("adapter", "")
        if adapter and not _DIGEST.fullmatch(adapter):
            table.refuse("adapter", f"is {adapter[:80]!r}, must be a digest: 64 hexadecimal digits")
        intent = Intent(
            name,
            models,
            adapter,
            floor=table.number("floor", 0, 1, 0.0),
            fallback=table.text("fallback", fallback),
            task=table.text("task", name),
            needs=table.names("needs"),
            budget_ms=table.number("budget_ms", 1, 1e9, 0) or None,
            examples=self._examples(table),
            guardians=table.names("guardians", guards.MOST),
        )
        if not _NAME.fullmatch(intent.task):
            table.refuse("task", f"is {intent.task[:80]!r}, must be a word of letters, digits, '_', '-' and '.'")
        table.refuse_unread()
        return intent

    def _guardian(self, name: str, table: Table) -> Guardian:
        if not _NAME.fullmatch(name):
            table.refuse("", f"guardian {name[:80]!r} needs a name of letters, digits, '_', '-' and '.', at most 64")
        return guards.guardian(name, table, self._folder, self._read)

    def _read(self, path: Path, raw: bytes) -> None:
        self._watched.append(path)
        self._hash.update(raw)

    def _examples(self, table: Table) -> tuple[str, ...]:
        given = table.get("examples")
        if not isinstance(given, str):
            return table.names("examples", most=MOST)
        try:
            found = read_examples(given, self._folder)
        except Error as error:
            table.refuse("examples", str(error))
        if found.path is not None:
            self._read(found.path, found.raw)
        else:
            self._hash.update(found.raw)
        return found.texts

    def _check_examples(self, intents: Mapping[str, Intent]) -> None:
        whose: dict[str, str] = {}
        for name, intent in intents.items():
            if len(intent.examples) < LEAST:
                what = f"are {len(intent.examples)}, must be at least {LEAST}: routes are learned from them"
                self._table.refuse("intents", what, name, "examples")
            for text in intent.examples:
                if whose.setdefault(text, name) != name:
                    what = f"have {text[:60]!r}, which is an example of {whose[text]!r}, too"
                    self._table.refuse("intents", what, name, "examples")
        if sum(len(intent.examples) for intent in intents.values()) > MOST:
            self._table.refuse("intents", f"have more than {MOST} examples together")

    def _check_fallbacks(self, registry: Registry) -> None:
        intents, top = registry.intents, self._table
        if registry.fallback not in intents:
            top.refuse("fallback", f"is {registry.fallback[:80]!r}, must be one of the intents: {_listed(intents)}")
        if intents[registry.fallback].floor > 0:
            what = f"must be 0: {registry.fallback!r} is the fallback of all, below which nobody is left"
            top.refuse("intents", what, registry.fallback, "floor")
        for name in intents:
            seen = [name]
            while (intent := intents.get(seen[-1])) is not None:
                if intent.fallback in seen and not (seen[-1] == intent.fallback == registry.fallback):
                    circle = " -> ".join([*seen, intent.fallback])
                    top.refuse("intents", f"goes in a circle: {circle}", seen[-1], "fallback")
                if intent.fallback in seen:
                    break
                seen.append(intent.fallback)
                if len(seen) > _LONGEST_CHAIN:
                    what = f"is the {len(seen)}th in a row from {name!r}; at most {_LONGEST_CHAIN} may be asked in turn"
                    top.refuse("intents", what, seen[-2], "fallback")


def _decoded(name: str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FormatError(f"{name}:{line}", "is not UTF-8; save it as UTF-8") from None


def _line_of(text: str, error: Exception) -> int:
    """Where tomllib stopped: it says so, but at the end of the file, and where Python's own limits stopped it."""
    if found := _AT_LINE.search(str(error)):
        return int(found[1])
    lines = text.splitlines(keepends=True)
    if isinstance(error, tomllib.TOMLDecodeError):
        return max(1, len(lines))
    least, most = 1, max(1, len(lines))
    while least < most:  # the fewest lines with which it happens
        middle = (least + most) // 2
        try:
            tomllib.loads("".join(lines[:middle]))
            is_there = False
        except tomllib.TOMLDecodeError:
            is_there = False
        except (ValueError, RecursionError):
            is_there = True
        least, most = (least, middle) if is_there else (middle + 1, most)
    return least


def _without_line(error: Exception) -> str:
    return _AT_LINE.sub("", str(error)).strip() or type(error).__name__


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:20]) or "none"
