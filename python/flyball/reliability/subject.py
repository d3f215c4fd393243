"""What a quarantine is about: the model, target and policy whose changes did harm. Only their runs end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..evidence.gates import Outcome, inconclusive
from .context import Context
from .results import Record, StageResult

_WORDS = {"model": "the model", "target": "the target", "policy_file": "the policy"}


def of(target: str, subjects: Mapping[str, str]) -> dict[str, str]:
    """The subject of a run."""
    return {"model": subjects.get("model", ""), "target": target, "policy_file": subjects.get("policy_file", "")}


def apart(context: Context) -> StageResult | None:
    """The result of self-heal for a run that the quarantine is not about, else None. Harm counts in every run."""
    about = context.heal.get("about")
    quality = context.results.get("quality")
    if not about or context.heal.get("mode", "active") == "active" or context.heal.get("latched"):
        return None
    if quality is not None and quality.verdict.outcome is Outcome.FAIL:
        return None
    own = of(context.target, context.subjects)
    other = [name for name in _WORDS if name in about and about[name] != own[name]]
    if not other:
        return None
    named = ", ".join(f"{_WORDS[name]} {str(about[name])[:60] or 'without a file'}" for name in other)
    message = f"the policy is in {context.heal['mode']} about {named}: this run does not count"
    verdict = inconclusive("HEAL_OTHER_SUBJECT", message, "run with that model, target and policy", about=dict(about))
    limits = context.limits.effective("stable_streak", "canary_good", "canary_bad", "canary_threshold")
    state = {key: value for key, value in context.heal.items() if key != "about"}
    return StageResult("self_heal", verdict, {"state": state, "before": context.heal["mode"], "limits": limits})


def kept(context: Context, state: Mapping[str, Any]) -> dict[str, Any]:
    """`about` of the state after a run: this run's subject where harm was found, else what it was."""
    if state.get("mode", "active") == "active":
        return {}
    quality = context.results.get("quality")
    about = None if quality is not None and quality.verdict.outcome is Outcome.FAIL else context.heal.get("about")
    return {"about": dict(about) if about else of(context.target, context.subjects)}


def named(heal: Mapping[str, Any], history: Sequence[Record]) -> dict[str, Any]:
    """The state with what it is about; for a quarantine of version 0.1 that is the run with which it began."""
    first: Record | None = None
    for record in reversed(history):
        if heal.get("mode", "active") == "active" or "about" in heal or record.heal.get("mode", "active") == "active":
            break
        first = record if record.stages else first
    if first is None:
        return dict(heal)
    return {**heal, "about": {"model": first.subjects.get("model", ""), "target": first.target}}
