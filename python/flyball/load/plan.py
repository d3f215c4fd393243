"""Plans: a TOML file that says which flows of requests come how, and what they may take."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from .. import files
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded
from .table import Table
from .thresholds import Threshold

SCHEMA = 1
_MOST_BYTES = 1 << 20
_MOST_SECONDS, _MOST_RATE, _MOST_USERS, _MOST_ITERATIONS = 7 * 86_400.0, 100_000.0, 100_000, 10_000_000
_PROMPTS = ("What is 2 + 3?", "Tell me a story.", "Once upon a time there was a ball.")


@dataclass(frozen=True)
class Stage:
    """A part of an open loop: arrivals a second at its beginning and at its end, and its length."""

    rate: float
    to: float
    seconds: float


@dataclass(frozen=True)
class Arrivals:
    """An open loop: iterations come at their due times, whether or not earlier ones have ended.

    `most_running`: an iteration that comes while so many run is dropped, and counted as such.
    """

    stages: tuple[Stage, ...]
    spacing: Literal["poisson", "even"]
    most_running: int


@dataclass(frozen=True)
class Users:
    """A closed loop: each user begins again once it has ended and paused, for some time or so many iterations."""

    users: int
    seconds: float | None
    iterations: int | None
    pause_s: float


@dataclass(frozen=True)
class Limits:
    """What a good iteration meets, in milliseconds; None: nothing is asked."""

    duration_ms: float | None = None
    first_token_ms: float | None = None
    per_token_ms: float | None = None


@dataclass(frozen=True)
class PageOptions:
    """`path`: the page, which is loaded with what it names."""

    path: str


@dataclass(frozen=True)
class ChatOptions:
    """A streamed chat; `login`: a look at the models comes first, which shows that the key is good."""

    prompts: tuple[str, ...]
    max_tokens: int
    model: str
    login: bool


@dataclass(frozen=True)
class JobsOptions:
    """A batch of `lines` chats: a file is uploaded, the batch created, and asked for each `poll_s` until its end."""

    prompts: tuple[str, ...]
    max_tokens: int
    model: str
    lines: int
    poll_s: float


@dataclass(frozen=True)
class Flow:
    """One kind of iteration, and how it comes."""

    name: str
    options: PageOptions | ChatOptions | JobsOptions
    load: Arrivals | Users
    goodput: Limits
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class Plan:
    """A run. `late_ms`: how late the generator's own p99 may be; a run beyond it decides nothing.

    `grace_s`: how long iterations that have begun may go on once their flow's time is over. `url` "": a server of the
    bundled model is started.
    """

    name: str
    url: str
    seed: int
    key_env: str
    key_file: str
    late_ms: float
    grace_s: float
    timeout_s: float
    flows: tuple[Flow, ...]


def read_plan(path: AnyPath) -> Plan:
    """Raises a flyball.Error that names file, key and remedy."""
    name = expanded(path)
    try:
        members = tomllib.loads(files.read(path, _MOST_BYTES).decode())
    except UnicodeDecodeError as error:
        raise FormatError(name, "is not UTF-8", error.start) from None
    except (ValueError, RecursionError) as error:
        raise FormatError(name, f"is not TOML: {error}") from None
    try:
        return _plan(Table(members))
    except InvalidArgument as error:
        raise error.in_file(name) from None


def server_url(url: str) -> str:
    """The root of a server's address, without the /v1 that clients of OpenAI are given."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(c <= " " for c in url) or parts.query or parts.fragment or parts.username:
        raise InvalidArgument("url", f"is {url[:80]!r}, must be http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def _plan(table: Table) -> Plan:
    if table.integer("schema", 1, 1 << 31, SCHEMA) != SCHEMA:
        raise InvalidArgument("schema", f"must be {SCHEMA}: another version of Flyball wrote this")
    url, serve = table.text("url", ""), table.flag("serve", False)
    if url and serve:
        raise InvalidArgument("serve", "is true beside an url; give one of the two")
    key_env, key_file = table.text("key_env", ""), table.text("key_file", "")
    if key_env and key_file:
        raise InvalidArgument("key_file", "is given beside key_env; give one of the two")
    flows = [_flow(name, inside) for name, inside in table.tables("flows")]
    if not flows:
        raise InvalidArgument("flows", "is missing; a plan has at least one table [flows.NAME]")
    plan = Plan(
        name=table.text("name", "load"),
        url=server_url(url) if url else "",
        seed=table.integer("seed", 0, 2**53, 0),
        key_env=key_env,
        key_file=key_file,
        late_ms=table.number("late_ms", 0, 60_000, 50),
        grace_s=table.number("grace_s", 0, _MOST_SECONDS, 30),
        timeout_s=table.number("timeout_s", 0.001, _MOST_SECONDS, 60),
        flows=tuple(flows),
    )
    table.end()
    return plan


def _flow(name: str, table: Table) -> Flow:
    kind = table.choice("kind", ("page", "chat", "jobs"))
    load = table.choice("load", ("arrivals", "users", "iterations"))
    flow = Flow(
        name,
        _options(kind, table),
        _arrivals(table) if load == "arrivals" else _users(load, table),
        _limits(kind, table),
        tuple(_thresholds(kind, table)),
    )
    table.end()
    return flow


def _options(kind: str, table: Table) -> PageOptions | ChatOptions | JobsOptions:
    if kind == "page":
        path = table.text("path", "/")
        if not path.startswith("/") or not path.isascii() or any(c <= " " for c in path):
            raise InvalidArgument(table.place("path"), f"is {path!r}, must be like '/' or '/index.html'")
        return PageOptions(path)
    prompts = table.texts("prompts", _PROMPTS)
    max_tokens, model = table.integer("max_tokens", 1, 1 << 20, 32), table.text("model", "")
    if kind == "chat":
        return ChatOptions(prompts, max_tokens, model, table.flag("login", False))
    return JobsOptions(
        prompts, max_tokens, model, table.integer("lines", 1, 10_000, 4), table.number("poll_s", 0.01, 3600, 0.5)
    )


def _arrivals(table: Table) -> Arrivals:
    stages = []
    for _, inside in table.list_of_tables("stages"):
        rate = inside.number("rate", 0, _MOST_RATE)
        stages.append(Stage(rate, inside.number("to", 0, _MOST_RATE, rate), inside.seconds("seconds", _MOST_SECONDS)))
        inside.end()
    if not any(stage.rate or stage.to for stage in stages):
        raise InvalidArgument(table.place("stages"), "has no arrivals; give a list such as [{rate = 2, seconds = 20}]")
    spacing: Any = table.choice("spacing", ("poisson", "even"), "poisson")
    return Arrivals(tuple(stages), spacing, table.integer("most_running", 1, _MOST_USERS, 1000))


def _users(load: str, table: Table) -> Users:
    users, pause_s = table.integer("users", 1, _MOST_USERS, 1), table.number("pause_s", 0, 86_400, 0)
    if load == "users":
        return Users(users, table.seconds("seconds", _MOST_SECONDS), None, pause_s)
    return Users(users, None, table.integer("iterations", 1, _MOST_ITERATIONS), pause_s)


def _limits(kind: str, table: Table) -> Limits:
    inside = table.table("goodput")
    names = ("duration_ms", "first_token_ms", "per_token_ms") if kind == "chat" else ("duration_ms",)
    given = {name: inside.number(name, 0, _MOST_SECONDS * 1000) for name in names if inside.has(name)}
    inside.end()
    return Limits(**given)


def _thresholds(kind: str, table: Table) -> Iterator[Threshold]:
    for place, inside in table.list_of_tables("thresholds"):
        metric, limit = inside.text("metric"), inside.text("limit")
        severity = inside.text("severity", "warning")
        try:
            made = Threshold.of(metric, limit, severity)
        except InvalidArgument as error:
            raise error.in_file(place) from None
        if kind != "chat" and metric in ("first_token", "per_token"):
            raise InvalidArgument(f"{place}: metric", f"is {metric}, which only flows of the kind chat have")
        inside.end()
        yield made
