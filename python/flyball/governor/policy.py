"""The policy: what changes between answers, with a reason, a checkpoint, and a verdict on what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .. import _core
from ..engine.model import Model
from ..engine.options import DEFAULT_MAX_TOKENS, governor_words, integer, utf8
from ..engine.session import Session

ACTIONS: dict[str, str] = dict(_core.policy_actions())
"""Each action with the metric that it should lower, "none" where nothing is judged."""


class Configuration(NamedTuple):
    """What a policy may change: positions of the cache, tokens of an answer, type of the cached keys and values."""

    context: int
    max_tokens: int
    cache_type: str


class Outcomes(NamedTuple):
    """What came of an action so far. `history` is a decayed sum, which the next confidence has as a twentieth."""

    improved: int
    regressed: int
    inconclusive: int
    history: int


@dataclass(frozen=True)
class PolicyState:
    """Where a policy stands. `judging`: the action that answers are counted for; `last_reasons`: its last decisions, of
    which `changed` changed something.
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


class Policy:
    """Looks after the sessions that session() makes: see docs/policy.md.

    file      gets what is changed, FILE.before the checkpoint, FILE.history the outcomes of actions
    settings  configuration keys policy.*, and guard.* and autotune.* of its sessions; others at their defaults
    context, cache_type, max_tokens   what is asked for: a cause gone, all goes back to it
    """

    def __init__(
        self,
        model: Model,
        file: str | os.PathLike[str] | None = None,
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
            os.fsencode(file) if file is not None else b"",
        )

    @property
    def state(self) -> PolicyState:
        """What it has measured, changed and concluded."""
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
        """A session with the policy's settings that gets what it wants, now and after each answer."""
        now = self.state.current
        session = self.model.session(now.context, now.cache_type, governor=self._settings)
        session.policy = self
        return session

    def consult(self, session: Session, mock: str | None = None) -> PolicyState:
        """Ask the model what to change, or take `mock`, an action's name, as if it had chosen that without a doubt."""
        if mock is None:
            self._core.consult(session._core)
        else:
            self._core.consult_mock(session._core, mock)
        session._follow()
        self.model._handle.keep_journal()
        return self.state

    def scores(self, situation: str) -> dict[str, float]:
        """What the model makes of a situation, as a consult words it: how much likelier it makes each action.

        Differences of natural logarithms, the same float32 on every machine.
        """
        return dict(zip(ACTIONS, self._core.ask_model(utf8("situation", situation)), strict=True))

    def session_ended(self, session: Session) -> PolicyState:
        """Say that a session has come to its end, which may be the time to ask the model."""
        self._core.session_ended(session._core)
        self.model._handle.keep_journal()
        return self.state

    def _turn_ended(self, generation: _core.GenerationCore) -> None:
        """What an answer has shown; the policy's sessions say so."""
        self._core.turn_ended(generation)

    def _wanted_cache(self) -> tuple[int, str]:
        """Its positions and type."""
        now = self.state.current
        return now.context, now.cache_type

    def request(self, context: int, cache_type: str, max_tokens: int) -> None:
        """Set what is wanted: it replaces whatever the policy changed before."""
        self._core.request(integer("context", context), cache_type, integer("max_tokens", max_tokens, 1))

    def govern(self, settings: Mapping[str, object]) -> None:
        """Have `settings` hold from now on."""
        self._core.govern(governor_words(settings))
        self._settings = dict(settings)
