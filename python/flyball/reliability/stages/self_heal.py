"""Self-heal: quarantine the policy when its changes do harm, then a bounded trial, then release or rollback.

A state machine: a pure function of the previous state, this run's gates and its judged changes. The state after a run
is in its record. A manual latch keeps the quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...evidence.gates import Outcome, Verdict, passed
from ...evidence.gates import failed as fails
from ...evidence.stats import Sprt
from ..context import Context
from ..results import Limits, StageResult
from .quality import HARM

GATES = ("scenario", "startup", "metrics", "coverage")  # these must not fail in a stable run
_MISS, _ALARM = 0.01, 0.001  # error rates of a trial: release of a harmful policy, rollback of a good one
_MOST_DOUBLINGS = 3


@dataclass(frozen=True)
class State:
    """`stable`: stable runs in a row, of `needed`. `trial_n`, `trial_harm`: judged and harmful changes of the trial.

    `counted_from`: the run after which changes count for the quality gate. `rollbacks`: how many in a row; each makes
    the next quarantine longer.
    """

    mode: str = "active"
    latched: bool = False
    stable: int = 0
    needed: int = 0
    trial_n: int = 0
    trial_harm: int = 0
    counted_from: str = ""
    rollbacks: int = 0

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> State:
        """The state in a record; the initial state if it has none."""
        return cls(**{key: found[key] for key in asdict(cls()) if key in found})


def run(context: Context) -> StageResult:
    """Advance the state by this run."""
    before = State.of(context.heal)
    broken = [
        gate for gate in GATES if gate in context.results and context.results[gate].verdict.outcome is Outcome.FAIL
    ]
    quality = context.results["quality"].verdict if "quality" in context.results else None
    outcomes = [change["outcome"] for change in context.values("scenario").get("applied", [])]
    harmful = quality is not None and quality.outcome is Outcome.FAIL
    after, verdict = step(before, context.run, harmful, broken, outcomes, context.limits)
    limits = context.limits.effective("stable_streak", "canary_good", "canary_bad", "canary_threshold")
    return StageResult("self_heal", verdict, {"state": asdict(after), "before": before.mode, "limits": limits})


def step(
    state: State, run: str, harmful: bool, broken: Sequence[str], outcomes: Sequence[str], limits: Limits
) -> tuple[State, Verdict]:
    """The state after a run in which the quality gate failed (`harmful`) or others did (`broken`)."""
    if state.mode == "active":
        if not harmful:
            return state, passed("HEAL_ACTIVE", "the policy is not bounded")
        needed = int(limits.stable_streak)
        quarantined = replace(state, mode="quarantined", stable=0, needed=needed, counted_from=run)
        message = f"changes did harm: the policy may change nothing until {needed} runs in a row are stable"
        return quarantined, fails("HEAL_QUARANTINED", message, "fix the policy, then run again")
    if state.mode == "quarantined":
        return _in_quarantine(state, run, broken)
    return _in_trial(state, run, [*broken, *["quality"] * harmful], outcomes, limits)


def _in_quarantine(state: State, run: str, broken: Sequence[str]) -> tuple[State, Verdict]:
    stable = 0 if broken else state.stable + 1
    state = replace(state, stable=stable, counted_from=run)
    if state.latched:
        message = "the quarantine is latched"
        return state, fails("HEAL_LATCHED", message, "flyball reliability reset --active ends it")
    if stable < state.needed:
        why = f"; {', '.join(broken)} failed" if broken else ""
        return state, fails("HEAL_KEPT", f"{stable} of {state.needed} stable runs{why}", "run again")
    trial = replace(state, mode="canary", trial_n=0, trial_harm=0)
    return trial, passed(
        "HEAL_CANARY_BEGUN", f"{stable} runs in a row were stable: the next ones are a trial of the policy"
    )


def _in_trial(
    state: State, run: str, broken: Sequence[str], outcomes: Sequence[str], limits: Limits
) -> tuple[State, Verdict]:
    n = state.trial_n + len(outcomes)
    harm = state.trial_harm + sum(outcome in HARM for outcome in outcomes)
    evidence = {"n": n, "harm": harm, "bound": bound(n) if not harm else None}
    bad = Sprt(limits.canary_good, limits.canary_bad, _MISS, _ALARM).decide(harm, n)
    message = f"{harm} of {n} changes in the trial did harm"
    if bad or broken:
        rollbacks = state.rollbacks + 1
        needed = int(limits.stable_streak) * 2 ** min(rollbacks, _MOST_DOUBLINGS)
        why = f"{', '.join(broken)} failed" if broken else message
        back = State("quarantined", state.latched, 0, needed, counted_from=run, rollbacks=rollbacks)
        message = f"{why}: quarantine again, for {needed} stable runs"
        return back, fails("HEAL_ROLLED_BACK", message, "fix the policy, then run again", **evidence)
    if bad is None:
        proven = f", so the share of harm is below {bound(n):.0%} (95 % confidence)" if n and not harm else ""
        return replace(state, trial_n=n, trial_harm=harm), passed("HEAL_CANARY_GOES_ON", message + proven, **evidence)
    message += f"; a share of harm above {limits.canary_bad:.0%} is ruled out (error rate {_MISS:.0%})"
    return State(counted_from=run), passed("HEAL_RELEASED", message, **evidence)


def bound(n: int) -> float:
    """Upper 95 % bound of the share of harm after n harmless changes: 63 % for 3, 5 % for 59."""
    return 1 - 0.05 ** (1 / n) if n else 1.0


def limits_text(state: State, threshold: int, canary_threshold: int) -> str:
    """The limits of the policy in later runs, in the syntax of a configuration; empty without limits."""
    lines = []
    if state.mode != "active":
        lines.append(f'policy.auto_apply = "{"off" if state.mode == "quarantined" else "conservative"}"')
        lines.append('policy.gate = "enforced"')
        threshold = max(threshold, canary_threshold)
    if threshold:
        lines.append(f"policy.threshold = {threshold}")
    head = f"# From flyball reliability, {state.mode}: docs/reliability.md. Without this file nothing is bounded.\n"
    return head + "\n".join(lines) + "\n" if lines else ""
