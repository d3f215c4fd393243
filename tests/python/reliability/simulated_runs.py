"""Months of reliability runs with known faults, through the real stages: the scenario alone is made up.

Noise as it was measured on shared machines: a cost spreads by 2 % from run to run, the machine's own state stays for a
while (lag-1 correlation 0.5), and one run in fifty is far off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from flyball.evidence.gates import Outcome, passed
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
    "OUTCOME_INCONCLUSIVE": 0.06,
    "BLOCK_TRIAL_PENDING": 0.04,
    "POLICY_SUGGESTED": 0.02,
    "OUTCOME_REGRESSED": 0.01,
}
N_DECISIONS = 35
COSTS = {"prefill": 3.9, "decode": 26.0, "load": 284.0}
_DAY = 86400.0


@dataclass
class World:
    """A machine, a build and a policy, as a scenario shows them. Tests change what is to go wrong."""

    seed: int
    slow: float = 1.0  # factor on all costs
    harm: float = 0.03  # share of applied changes that do harm
    unseen: float = 0.0  # share of decisions with a reason that was never seen
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

    def scenario(self) -> StageResult:
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
        applied = [{"action": action, "outcome": self.outcome()} for action in actions]
        values = {
            "startup": {"model_select_ms": 0.5, "model_prepare_ms": 4.0, "first_token_ms": 0.7},
            "cost": cost,
            "reasons": reasons,
            "chosen": {"reduce_answer": 2, "increase_context": 2},
            "applied": applied,
            "prefill": [],
            "decode": [],
        }
        return StageResult("scenario", passed("SCENARIO_COMPLETE", ""), values)

    def outcome(self) -> str:
        """Of an applied change."""
        draw = self.random.random()
        return "regressed" if draw < self.harm else "improved" if draw > 0.95 else "inconclusive"

    def run(self, stages: tuple[str, ...] = tuple(STAGES)) -> Record:
        """A day's."""
        n = len(self.history)
        context = Context(
            run=f"{n:06}",
            folder=Path(),
            root=Path(),
            profile=PROFILES["quick"],
            limits=self.limits,
            subjects={"line": "1"},
            history=self.history,
            heal=self.history[-1].heal if self.history else {},
        )
        about = {"shape": {"width": 256, "layers": 6}, "memory_mb": 16384}
        context.results["preflight"] = StageResult("preflight", passed("PREFLIGHT_READY", ""), about)
        context.results["scenario"] = self.scenario()
        for name in stages:
            context.results[name] = STAGES[name](context)
        heal = context.values("self_heal").get("state", {})
        record = Record(context.run, n * _DAY, subjects={"line": "1"}, stages=context.results, heal=heal)
        self.history.append(record)
        return record

    def days(self, n: int, stages: tuple[str, ...] = tuple(STAGES)) -> list[Record]:
        """Some runs."""
        return [self.run(stages) for _ in range(n)]


def alarms(records: list[Record]) -> set[str]:
    """Stages that failed in any of the runs."""
    return {name for r in records for name, result in r.stages.items() if result.verdict.outcome is Outcome.FAIL}
