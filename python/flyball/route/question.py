"""The question of a choice, from the registry, what a text wants and what is known of the models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .choice import Question, Step
from .floors import Floors
from .history import History
from .registry import Registry
from .score import Candidate


@dataclass(frozen=True)
class State:
    """Whether a model with an adapter can be asked; members as of Candidate."""

    has_adapter: bool = True
    is_healthy: bool = True
    fits: bool = True


def may_explore(key: str, share: float) -> bool:
    """Whether exploring may decide the choice of the request with this key: of so many in all, and of each alike on
    every server, so that one which comes again to another server goes the same way."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < share * 2**64


def question_of(
    registry: Registry,
    floors: Floors,
    p: Mapping[str, float],
    history: History,
    needs: Sequence[str] = (),
    state: Callable[[str, str], State] = lambda model, adapter: State(),
    may_explore: bool = True,
) -> Question:
    """`p`: of the intents, the likeliest first; empty without text. `needs`: capabilities that the request needs;
    `state(model, adapter)`: where somebody knows it; else all are well."""

    def candidate(model: str, adapter: str, task: str, needed: Sequence[str]) -> Candidate:
        can = set(needed) <= set(registry.capabilities.get(model, needed))
        now = state(model, adapter)
        known = history.candidate(task, model, adapter)
        return replace(known, is_capable=can, has_adapter=now.has_adapter, is_healthy=now.is_healthy, fits=now.fits)

    steps = []
    for name in registry.chain(next(iter(p), registry.fallback)):
        if (intent := registry.intents.get(name)) is None:
            steps.append(Step("", (candidate(name, "", "", needs),)))
            continue
        needed = (*needs, *intent.needs)
        listed = tuple(candidate(model, intent.adapter, intent.task, needed) for model in intent.models)
        steps.append(Step(name, listed, intent.adapter, intent.task, intent.budget_ms))
    floor = floors.of[next(iter(p))] if p else None
    return Question(
        registry.digest,
        p,
        floor.floor if floor else 0.0,
        floor.certified if floor else False,
        tuple(steps),
        registry.cost,
        registry.explore,
        may_explore,
    )
