"""The choice of a route: a pure function of what is written beside it in the journal, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .score import Candidate, Score, calculate_model_score, slowest


@dataclass(frozen=True)
class Step:
    """One who may be asked: an intent with its models, or, without a name, a model as the last fallback."""

    intent: str
    candidates: tuple[Candidate, ...]
    adapter: str = ""
    task: str = ""
    budget_ms: float | None = None


@dataclass(frozen=True)
class Question:
    """All that a choice depends on.

    p          the probabilities of the intents, the likeliest first; empty: there was no text
    floor      of the likeliest, and whether it is certified
    steps      the likeliest intent, then its fallbacks in turn; without text, the fallbacks alone
    may_explore  whether exploring may still decide a choice
    """

    registry: str
    p: Mapping[str, float]
    floor: float
    certified: bool
    steps: tuple[Step, ...]
    cost: float = 0.1
    explore: float = 0.0
    may_explore: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Question:
        """From as_dict(). Raises KeyError, TypeError or ValueError for what is none."""
        steps = tuple(
            Step(**{**step, "candidates": tuple(Candidate(**each) for each in step["candidates"])})
            for step in members["steps"]
        )
        return cls(**{**members, "steps": steps})


@dataclass(frozen=True)
class Choice:
    """Who answers. `model` is "" where nobody can.

    scores    of all models of that step that could be asked; the others of it are runners-up
    left_out  of every step that was passed, its models and why each could not be asked
    explored  the model was not the best known one
    """

    reason: str
    intent: str
    task: str
    model: str
    adapter: str
    explored: bool = False
    scores: Mapping[str, Score] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        scores = {model: score.as_dict() for model, score in self.scores.items()}
        return {**vars(self), "scores": scores, "left_out": dict(self.left_out)}


def choose(question: Question) -> Choice:
    """The one place where a floor is applied, a model is left out, and one is taken."""
    likeliest, p = next(iter(question.p.items()), ("", 0.0))
    is_below = bool(likeliest) and p < question.floor
    left_out: dict[str, str] = {}
    for number, step in enumerate(question.steps):
        if is_below and step.intent == likeliest and number == 0:
            continue
        why = {each.model: each.left_out(step.budget_ms) for each in step.candidates}
        left_out |= {model: reason for model, reason in why.items() if reason}
        able = [each for each in step.candidates if not why[each.model]]
        if able:
            reason = _reason(bool(likeliest), is_below, number)
            return _best(question, step, able, reason, left_out)
    return Choice("ROUTE_NOTHING_LEFT", "", "", "", "", left_out=left_out)


def _reason(has_text: bool, is_below: bool, number: int) -> str:
    if not has_text:
        return "ROUTE_NO_TEXT"
    if is_below:
        return "ROUTE_BELOW_FLOOR"
    return "ROUTE_MODELS_OUT" if number else "ROUTE_INTENT"


def _best(question: Question, step: Step, able: list[Candidate], reason: str, left_out: Mapping[str, str]) -> Choice:
    longest = slowest(able)
    scores = {each.model: calculate_model_score(each, longest, question.cost) for each in able}
    known = chosen = max(scores, key=lambda model: scores[model].total)  # of equal ones the first in the registry
    if question.explore and question.may_explore:
        hopes = {each.model: calculate_model_score(each, longest, question.cost, question.explore) for each in able}
        chosen = max(hopes, key=lambda model: hopes[model].total)
        scores = hopes if chosen != known else scores
    return Choice(reason, step.intent, step.task, chosen, step.adapter, chosen != known, scores, left_out)
