"""What a plugin may implement, and the values that go in and out. Imported by the child: the standard library and
pluggy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pluggy

NAME = "flyball"
hookspec = pluggy.HookspecMarker(NAME)
hookimpl = pluggy.HookimplMarker(NAME)

API = 1  # of these hooks


class ToolError(Exception):
    """What a plugin raises where a call cannot be answered: the model is told, and it counts as no failure."""


@dataclass(frozen=True)
class Fetched:
    """What the host has fetched. `body` is as it came."""

    status: int
    kind: str  # the content type
    body: bytes


class Host(Protocol):
    """What a plugin may ask of Flyball while it is called."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The plugin's configuration, as its manifest and the project have it."""

    def fetch(self, url: str, *, body: bytes | None = None, kind: str = "application/json") -> Fetched:
        """GET, or POST where there is a body. Raises ToolError where the host refuses, or gets nothing."""


@dataclass(frozen=True)
class Call:
    """A model's call of a tool; the arguments go with the tool's schema."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """A finished answer. `question` and `text` only for a guardian, or with the permission `text`."""

    id: str
    model: str
    api: str
    digest: str
    seed: int
    stop_reason: str
    n_prompt_tokens: int
    n_generated_tokens: int
    ms: int
    adapter: str | None = None
    cached: bool = False
    question: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A guardian's word on an answer."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Question:
    """The last words of a user, and the intents that there are."""

    text: str
    intents: Sequence[str] = ()


@dataclass(frozen=True)
class Proposal:
    """The intent that a router takes a question for."""

    intent: str
    reason: str = ""


@dataclass(frozen=True)
class Example:
    """An approved example: a question with its right answer."""

    id: str
    kind: str
    question: str
    answer: str
    family: str | None = None


class Hooks:
    """One hook for each kind of plugin."""

    @hookspec(firstresult=True)
    def flyball_call_tool(self, call: Call, host: Host) -> object:
        """Answer a call: text, or a value that JSON has."""

    @hookspec(firstresult=True)
    def flyball_judge(self, answer: Answer, host: Host) -> Verdict:  # type: ignore[empty-body]
        """Judge an answer."""

    @hookspec(firstresult=True)
    def flyball_propose_route(self, question: Question, host: Host) -> Proposal | None:
        """Propose an intent, or none."""

    @hookspec
    def flyball_export(self, answers: Sequence[Answer], host: Host) -> None:
        """Take finished answers."""

    @hookspec
    def flyball_learn(self, examples: Sequence[Example], host: Host) -> None:
        """Take newly approved examples."""


@dataclass(frozen=True)
class Kind:
    """A capability: its hook, the hook's argument, of which there may be a list, and what the hook gives."""

    hook: str
    argument: str
    takes: type
    many: bool = False
    gives: type | None = None


KINDS: Mapping[str, Kind] = {
    "tools": Kind("flyball_call_tool", "call", Call),
    "guardian": Kind("flyball_judge", "answer", Answer, gives=Verdict),
    "router": Kind("flyball_propose_route", "question", Question, gives=Proposal),
    "exporter": Kind("flyball_export", "answers", Answer, many=True),
    "learner": Kind("flyball_learn", "examples", Example, many=True),
}
