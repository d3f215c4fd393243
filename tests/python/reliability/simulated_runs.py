"""Months of reliability runs with known faults, through the real stages: the scenario alone is made up.

Noise as it was measured on shared machines: a cost spreads by 2 % from run to run, the machine's own state stays for a
while (lag-1 correlation 0.5), and one run in fifty is far off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from flyball import _core
from flyball.evidence.gates import Outcome, failed, inconclusive, passed
from flyball.governor.policy import ACTIONS
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.stages import curriculum, metrics, quality, reason_drift, self_heal, startup

STAGES: dict[str, Callable[[Context], StageResult]] = {
    "startup": startup.run,
    "metrics": metrics.run,
    "reason_drift": reason_drift.run,
    "quality": quality.run,
    "self_heal": self_heal.run,
    "curriculum": curriculum.run,
}
REASONS = {
    "POLICY_CHOICE": 0.34,
    "CONFIDENCE_PASSED": 0.22,
    "CONFIDENCE_TOO_LOW": 0.15,
    "PLAN_STEP": 0.08,
    "APPLY_VERIFIED": 0.08,
    "OUTCOME_UNCHANGED": 0.06,
    "BLOCK_TRIAL_PENDING": 0.04,
    "POLICY_SUGGESTED": 0.02,
    "OUTCOME_REGRESSED": 0.01,
}
N_DECISIONS = 35
PAIRS = 12  # of answers before and after a change, in the scenario
BLIND = ("crash", "missing", "contended", "undecided", "guard_ended")  # ways in which a run sees too little
COSTS = {"prefill": 3.9, "decode": 26.0, "load": 284.0}
TOO_FEW = "INSUFFICIENT_DATA"
_DAY = 86400.0


@cache
def outcome_of(stopped: int, metric_known: bool = True) -> str:
    """The core's outcome of a change after which the guard ends that many answers at once, of none before it.

    Without a known metric, answers that go to their end show nothing.
    """
    decided: list[str] = []
    settings = {"policy.auto_apply": "aggressive", "policy.headroom_mb": "16777216", "policy.outcome_turns": str(PAIRS)}
    core = _core.ReplayCore(list(settings.items()))
    limits: dict[str, Any] = {"context": 4096, "max_tokens": 256, "cache_type": "f16"}

    def tell(reason: str, data: dict[str, Any]) -> None:
        decided.extend(why for why, _ in core.observe(reason, 0, json.dumps(data)))

    def answer(stopped: bool, known: bool = True) -> None:
        cost = {"step_cycles": 1000 * known, "cycles_per_token": 1000 * known} if not stopped else {}
        seen = {"step_cycles": 0, "cycles_per_token": 0, "resident_kb": 9000, "available_mb": 9000, "depth": 100}
        tell("SESSION_TURN_SEEN", seen | cost | {"stopped": stopped, "cut": False})

    opening = {"governor": {}, "base": limits, "current": limits, "outcome_rules": 2}
    history = {"mode": "normal", "outcomes": {}}
    possible = {"most_context": 9999, "smallest_cache_type": "q8_0"}
    tell("SESSION_POLICY_OPENED", opening | {"history": history, "possible": possible})
    for _ in range(PAIRS):
        answer(stopped=False)
    scores = {name: 9.0 * (name == "reduce_answer") for name in ACTIONS}
    tell("SESSION_CONSULTED", {"mock": True, "scores": scores, "available_mb": 9000, "cache_mb": 100, "depth": 100})
    tell("SESSION_APPLIED", {"found": limits | {"max_tokens": 128}, "same_bytes": True})
    for n in range(4 * PAIRS):
        answer(n < stopped, metric_known)
    return next(why for why in decided if why.startswith("OUTCOME")).removeprefix("OUTCOME_").lower()


@dataclass
class World:
    """A machine, a build and a policy, as a scenario shows them. Tests change what is to go wrong.

    `blind` runs, a share of them, see too little in one of the ways of BLIND.
    """

    seed: int
    slow: float = 1.0  # factor on all costs
    harm: float = 0.03  # share of applied changes that do harm
    unseen: float = 0.0  # share of decisions with a reason that was never seen
    blind: str = ""
    blind_share: float = 0.5
    limits: Limits = field(default_factory=Limits)
    history: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.numbers = np.random.default_rng(self.seed)
        self.state = 0.0

    @property
    def mode(self) -> str:
        """Of the policy."""
        return str(self.history[-1].heal.get("mode", "active")) if self.history else "active"

    def scenario(self, blind: str) -> StageResult:
        """What one leaves. In quarantine no change is applied."""
        self.state = 0.5 * self.state + self.random.gauss(0, 0.013)
        spike = math.log(1.3) if self.random.random() < 0.02 else 0.0
        cost = {
            name: base * self.slow * math.exp(self.state + self.random.gauss(0, 0.02) + spike)
            for name, base in COSTS.items()
        }
        drawn = self.numbers.multinomial(N_DECISIONS, [p * (1 - self.unseen) for p in REASONS.values()] + [self.unseen])
        reasons = {name: int(n) for name, n in zip([*REASONS, "BLOCK_MEMORY"], drawn, strict=True) if n}
        actions = () if self.mode == "quarantined" else ("reduce_answer", "reduce_cache")
        applied = [{"action": action, "outcome": self.outcome(blind), "pairs": PAIRS} for action in actions]
        values = {
            "startup": {"model_select_ms": 0.5, "model_prepare_ms": 4.0, "first_token_ms": 0.7},
            "cost": {} if blind == "contended" else cost,
            "reasons": reasons,
            "chosen": {"reduce_answer": 2, "increase_context": 2},
            "applied": applied,
            "prefill": [],
            "decode": [],
        }
        if blind == "crash" and self.random.random() < 0.5:
            return StageResult("scenario", inconclusive("RUN_CRASHED", ""))
        verdict = failed("SCENARIO_BROKEN", "") if blind == "crash" else passed("SCENARIO_COMPLETE", "")
        return StageResult("scenario", verdict, values)

    def outcome(self, blind: str) -> str:
        """Of an applied change. A harmful one may be seen by the answers alone that end at once, nine of ten."""
        draw = self.random.random()
        if blind == "undecided":
            return outcome_of(0, metric_known=False)
        if blind == "guard_ended":  # all others are too short to judge
            harmful = draw < self.harm
            return outcome_of(sum(self.random.random() < 0.9 for _ in range(PAIRS)) if harmful else 0, harmful)
        return "regressed" if draw < self.harm else "improved" if draw > 0.95 else outcome_of(0)

    def run(self, stages: tuple[str, ...] = tuple(STAGES)) -> Record:
        """A day's."""
        n = len(self.history)
        blind = self.blind if self.blind and self.random.random() < self.blind_share else ""
        machine = f"other {n}" if blind == "missing" else ""
        heal = self.history[-1].heal if self.history else {}
        context = Context(
            run=f"{n:06}",
            folder=Path(),
            root=Path(),
            profile=PROFILES["quick"],
            limits=self.limits,
            subjects={"line": "1"},
            history=[record for record in self.history if record.machine == machine],
            heal=heal,
        )
        about = {"shape": {"width": 256, "layers": 6}, "memory_mb": 16384}
        context.results["preflight"] = StageResult("preflight", passed("PREFLIGHT_READY", ""), about)
        if blind == "crash" and self.random.random() < 0.2:
            context.results["preflight"] = StageResult("preflight", inconclusive("PREFLIGHT_MISSING", ""))
            stages = ()  # it ended the run
        else:
            context.results["scenario"] = self.scenario(blind)
            context.results["coverage"] = StageResult("coverage", passed("COVERAGE_PASSED", ""))
            if blind == "crash" and self.random.random() < 0.2:
                context.results["coverage"] = StageResult("coverage", inconclusive("RUN_CRASHED", ""))
            for name in {"startup", "metrics"} - set(stages):  # as they would find it
                seen = blind not in ("missing", "contended")
                verdict = passed if seen else inconclusive
                context.results[name] = StageResult(
                    name, verdict(f"{name.upper()}_{'PASSED' if seen else TOO_FEW}", "")
                )
        for name in stages:
            context.results[name] = STAGES[name](context)
        heal = context.values("self_heal").get("state", heal)
        record = Record(
            context.run, n * _DAY, machine=machine, subjects={"line": "1"}, stages=context.results, heal=heal
        )
        self.history.append(record)
        return record

    def days(self, n: int, stages: tuple[str, ...] = tuple(STAGES)) -> list[Record]:
        """Some runs."""
        return [self.run(stages) for _ in range(n)]


def alarms(records: list[Record]) -> set[str]:
    """Stages that failed in any of the runs."""
    return {name for r in records for name, result in r.stages.items() if result.verdict.outcome is Outcome.FAIL}
