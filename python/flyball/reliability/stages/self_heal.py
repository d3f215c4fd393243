"""Self-heal: quarantine the policy when its changes do harm, then a bounded trial, then release or rollback.

A state machine: a pure function of the previous state, this run's gates and its changes. The state after a run is in
its record. A run whose gates are undecided changes nothing for the better: it is neither stable nor unstable. A manual
latch keeps the quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ...evidence.gates import Outcome, Verdict, passed
from ...evidence.gates import failed as fails
from ...evidence.stats import Sprt
from ..context import Context
from ..results import Limits, StageResult
from .quality import HARM, Change, changes_of

GATES = ("scenario", "startup", "metrics", "coverage")  # all of these must pass in a stable run
_MISS, _ALARM = 0.01, 0.001  # error rates of a trial: release of a harmful policy, rollback of a good one
_MOST_DOUBLINGS = 3


@dataclass(frozen=True)
class State:
    """`stable`: stable runs in a row, of `needed`. `trial_n`, `trial_harm`: decided and harmful changes of the trial.

    `undecided`: runs of this quarantine or trial in which a gate was undecided. `counted_from`: the run after which
    changes count for the quality gate. `rollbacks`: how many in a row; each makes the next quarantine longer.
    """

    mode: str = "active"
    latched: bool = False
    stable: int = 0
    needed: int = 0
    trial_n: int = 0
    trial_harm: int = 0
    counted_from: str = ""
    rollbacks: int = 0
    undecided: int = 0

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> State:
        """The state in a record; the initial state if it has none.

        Without `undecided`, undecided runs and changes counted as good ones: of these counts only harm is kept.
        """
        state = cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
        return state if "undecided" in found else replace(state, stable=0, trial_n=state.trial_harm)


@dataclass(frozen=True)
class Gates:
    """The gates of a run that failed, and those that are undecided: inconclusive, crashed or absent."""

    failed: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()

    @classmethod
    def of(cls, context: Context) -> Gates:
        """Of a run so far. The quality gate may lack changes to judge, as in quarantine; it must not fail."""
        outcomes = {gate: result.verdict.outcome for gate, result in context.results.items()}
        return cls(
            tuple(gate for gate in (*GATES, "quality") if outcomes.get(gate) is Outcome.FAIL),
            tuple(gate for gate in GATES if outcomes.get(gate) not in (Outcome.PASS, Outcome.FAIL)),
        )


def run(context: Context) -> StageResult:
    """Advance the state by this run."""
    before, gates = State.of(context.heal), Gates.of(context)
    after, verdict = step(before, context.run, gates, changes_of(context), context.limits)
    limits = context.limits.effective("stable_streak", "canary_good", "canary_bad", "canary_threshold")
    values = {"state": asdict(after), "before": before.mode, "undecided": list(gates.undecided), "limits": limits}
    return StageResult("self_heal", verdict, values)


def step(state: State, run: str, gates: Gates, changes: Sequence[Change], limits: Limits) -> tuple[State, Verdict]:
    """The state after a run with these gates and applied changes."""
    if state.mode == "active":
        if "quality" not in gates.failed:
            return state, passed("HEAL_ACTIVE", "the policy is not bounded")
        needed = int(limits.stable_streak)
        quarantined = replace(state, mode="quarantined", stable=0, needed=needed, counted_from=run, undecided=0)
        message = f"changes did harm: the policy may change nothing until {needed} runs in a row are stable"
        return quarantined, fails("HEAL_QUARANTINED", message, "fix the policy, then run again")
    if gates.undecided and not gates.failed:
        state = replace(state, undecided=state.undecided + 1)
    if state.mode == "quarantined":
        return _in_quarantine(state, run, gates)
    return _in_trial(state, run, gates, changes, limits)


def _in_quarantine(state: State, run: str, gates: Gates) -> tuple[State, Verdict]:
    stable = 0 if gates.failed else state.stable + (not gates.undecided)
    state = replace(state, stable=stable, counted_from=run)
    evidence = {"stable": stable, "needed": state.needed, "failed": gates.failed, "undecided": gates.undecided}
    if state.latched:
        message = "the quarantine is latched"
        return state, fails("HEAL_LATCHED", message, "flyball reliability reset --active ends it", **evidence)
    if stable < state.needed or gates.undecided:
        message = f"{stable} of {state.needed} stable runs{_why(gates)}"
        return state, fails("HEAL_KEPT", message, "run again", **evidence)
    trial = replace(state, mode="canary", trial_n=0, trial_harm=0, undecided=0)
    message = f"{stable} runs in a row were stable: the next ones are a trial of the policy"
    return trial, passed("HEAL_CANARY_BEGUN", message, **evidence)


def _in_trial(state: State, run: str, gates: Gates, changes: Sequence[Change], limits: Limits) -> tuple[State, Verdict]:
    decided = [change for change in changes if change.decided]
    n = state.trial_n + len(decided)
    harm = state.trial_harm + sum(change.outcome in HARM for change in decided)
    evidence = {"n": n, "harm": harm, "bound": bound(n) if not harm else None, "undecided": gates.undecided}
    bad = Sprt(limits.canary_good, limits.canary_bad, _MISS, _ALARM).decide(harm, n)
    message = f"{harm} of {n} decided changes in the trial did harm"
    if bad or gates.failed:
        rollbacks = state.rollbacks + 1
        needed = int(limits.stable_streak) * 2 ** min(rollbacks, _MOST_DOUBLINGS)
        why = f"{', '.join(gates.failed)} failed" if gates.failed else message
        back = State("quarantined", state.latched, 0, needed, counted_from=run, rollbacks=rollbacks)
        message = f"{why}: quarantine again, for {needed} stable runs"
        return back, fails("HEAL_ROLLED_BACK", message, "fix the policy, then run again", **evidence)
    if bad is None or gates.undecided:
        proven = f", so the share of harm is below {bound(n):.0%} (95 % confidence)" if n and not harm else ""
        wait = "; the release waits for a run in which all gates pass" if bad is False else ""
        after = replace(state, trial_n=n, trial_harm=harm)
        return after, passed("HEAL_CANARY_GOES_ON", message + proven + _why(gates) + wait, **evidence)
    message += f"; a share of harm above {limits.canary_bad:.0%} is ruled out (error rate {_MISS:.0%})"
    return State(counted_from=run), passed("HEAL_RELEASED", message, **evidence)


def _why(gates: Gates) -> str:
    failed = f"; {', '.join(gates.failed)} failed" if gates.failed else ""
    return failed or (f"; this run decides nothing, as {', '.join(gates.undecided)} did not" if gates.undecided else "")


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
