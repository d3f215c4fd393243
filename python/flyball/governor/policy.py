"""The policy: changes settings between answers, each with a reason, a checkpoint and a judged outcome."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .. import _core
from ..engine.model import Model
from ..engine.options import DEFAULT_MAX_TOKENS, governor_words, integer, utf8
from ..engine.session import Session
from ..paths import AnyPath, expanded
from ..pickling import Unpicklable

ACTIONS: dict[str, str] = dict(_core.policy_actions())
"""Each action with the metric that it should lower, or "none" if its outcome is not judged."""


class Configuration(NamedTuple):
    """What a policy may change: context limit, maximum tokens per answer, type of cached keys and values."""

    context: int
    max_tokens: int
    cache_type: str


class Outcomes(NamedTuple):
    """Outcomes of an action. `history` is their decayed sum; a twentieth of it enters the next confidence.

    `unchanged`: enough answers were compared to see harm, and there was none. `inconclusive`: too few were.
    """

    improved: int
    regressed: int
    inconclusive: int
    history: int
    unchanged: int = 0


@dataclass(frozen=True)
class PolicyState:
    """A policy's state. `judging`: the action on trial, by `judged_answers` so far; `last_reasons`: its last decisions,
    of which `changed` changed a setting.
    """

    mode: str
    requested: Configuration
    current: Configuration
    troubled_turns: int
    calm_turns: int
    steps: int
    hard_stopped: bool
    judging: str | None
    judged_answers: int
    outcomes: dict[str, Outcomes]
    last_reasons: tuple[str, ...]
    changed: tuple[str, ...]


class Policy(Unpicklable):
    """Manages the sessions that session() creates; see docs/policy.md.

    file      file for the changed settings; FILE.before is the checkpoint, FILE.history the outcomes of actions
    settings  configuration keys policy.*, and guard.* and autotune.* of its sessions; others at their defaults
    context, cache_type, max_tokens   requested settings, which the policy returns to when a cause is gone
    """

    _instead = "it manages the sessions of one model in one process; make another"

    def __init__(
        self,
        model: Model,
        file: AnyPath | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        context: int = 0,
        cache_type: str = "f16",
        max_tokens: int = DEFAULT_MAX_TOKENS,
    ) -> None:
        self.model = model
        self._settings = dict(settings or {})
        self._core = _core.PolicyCore(
            model._handle.core,
            governor_words(settings),
            integer("context", context),
            cache_type,
            integer("max_tokens", max_tokens, 1),
            os.fsencode(expanded(file, "file")) if file is not None else b"",
        )

    @property
    def state(self) -> PolicyState:
        """A snapshot of what it measured, changed and judged."""
        fields = self._core.state()
        return PolicyState(
            **fields
            | {
                "requested": Configuration(*fields["requested"]),
                "current": Configuration(*fields["current"]),
                "outcomes": {name: Outcomes(*counts) for name, counts in fields["outcomes"].items()},
                "last_reasons": tuple(fields["last_reasons"]),
                "changed": tuple(fields["changed"]),
            }
        )

    def session(self) -> Session:
        """A new session that the policy manages from the start and after each answer."""
        now = self.state.current
        session = self.model.session(now.context, now.cache_type, governor=self._settings)
        session.policy = self
        return session

    def consult(self, session: Session, mock: str | None = None) -> PolicyState:
        """Ask the model what to change. `mock`: an action to take as if the model had chosen it with certainty."""
        if mock is None:
            self._core.consult(session._core)
        else:
            self._core.consult_mock(session._core, mock)
        session._follow()
        self.model._handle.keep_journal()
        return self.state

    def scores(self, situation: str) -> dict[str, float]:
        """The model's score of each action in a situation: log P(action | situation) - log P(action).

        The situation is worded as in a consult. Natural logarithms, the same float32 on every machine.
        """
        return dict(zip(ACTIONS, self._core.ask_model(utf8("situation", situation)), strict=True))

    def session_ended(self, session: Session) -> PolicyState:
        """Report the end of a session; the policy may then ask the model."""
        self._core.session_ended(session._core)
        self.model._handle.keep_journal()
        return self.state

    def _turn_ended(self, generation: _core.GenerationCore) -> None:
        """Evaluate a finished answer; called by the policy's sessions."""
        self._core.turn_ended(generation)

    def _wanted_cache(self) -> tuple[int, str]:
        """The current context limit and cache type."""
        now = self.state.current
        return now.context, now.cache_type

    def request(self, context: int, cache_type: str, max_tokens: int) -> None:
        """Set the requested settings; they replace the policy's changes."""
        self._core.request(integer("context", context), cache_type, integer("max_tokens", max_tokens, 1))

    def govern(self, settings: Mapping[str, object]) -> None:
        """Replace the settings of the policy and of its later sessions."""
        self._core.govern(governor_words(settings))
        self._settings = dict(settings)
