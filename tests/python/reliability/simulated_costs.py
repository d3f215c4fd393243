"""Months of measured costs, as a machine that rests or is busy gives them, through the real stages.

The noise is that of docs/reliability.md, measured with the bundled model on two processors: by runs that need not wait,
and beside four busy processes per processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from flyball.evidence.gates import passed
from flyball.reliability import series
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.stages import metrics, startup

STAGES = {"metrics": metrics.run, "startup": startup.run}
COSTS = {"prefill": 3.12, "decode": 13.8, "load": 86.0}


@dataclass(frozen=True)
class Noise:
    """Of the logarithm of a cost. `level`: by how much load raises it. `spread`: from run to run.

    `within`: what a run finds of its own noise. `far`: the share of runs that are off by 30 %.
    """

    level: dict[str, float]
    spread: dict[str, float]
    within: float
    far: float = 0.02
    waiting: float = 0.0


REST = Noise(dict.fromkeys(COSTS, 0.0), {"prefill": 0.009, "decode": 0.021, "load": 0.031}, within=0.003)
BUSY = Noise(
    {"prefill": 0.02, "decode": 0.03, "load": 0.09},
    {"prefill": 0.009, "decode": 0.022, "load": 0.039},
    within=0.011,
    waiting=0.95,
)
# Where the waiting cannot be measured out, as before it was: costs of the same build at 2.2 times the baseline.
BLIND = Noise(dict.fromkeys(COSTS, 0.3), dict.fromkeys(COSTS, 0.3), 0.25)


def at_rest(record: Record) -> Record:
    """A real run as if nothing else had run beside it: its costs can be learned from, whatever the machine did."""
    quiet = {"noise": dict.fromkeys(series.COSTS, 0.0), "contention": {"inflation": 1.0}}
    scenario = record.stages["scenario"]
    return replace(record, stages=record.stages | {"scenario": replace(scenario, values=scenario.values | quiet)})


@dataclass
class Machine:
    """A machine and a build. `slow`: factors on costs."""

    seed: int
    noise: Noise = REST
    slow: float = 1.0
    limits: Limits = field(default_factory=Limits)
    history: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.state = 0.0
        self.n_measured = 0

    def measure(self, context: Context | None = None) -> StageResult:
        """What a scenario leaves."""
        self.n_measured += 1
        gauss, noise = self.random.gauss, self.noise
        # A third of the variance stays for a while: the machine's own state.
        self.state = 0.5 * self.state + gauss(0, 0.5)
        far = math.log(1.3) if self.random.random() < noise.far else 0.0
        cost, within = {}, {}
        for name, base in COSTS.items():
            off = noise.spread[name] * (self.state + 0.82 * gauss(0, 1))
            cost[name] = base * self.slow * math.exp(noise.level[name] + off + far)
            within[name] = noise.within * math.exp(gauss(0, 0.5))
        contention = {
            "waiting": noise.waiting,
            "steal": 0.0,
            "pressure": noise.waiting,
            "run_queue": 1.0,
            "inflation": 1.0,
        }
        values: dict[str, Any] = {
            "startup": {"model_select_ms": 0.5, "model_prepare_ms": 4.0, "first_token_ms": 0.7},
            "cost": cost,
            "noise": within,
            "contention": contention,
        }
        return StageResult("scenario", passed("SCENARIO_COMPLETE", ""), values)

    def run(self) -> Record:
        """One run."""
        context = Context(
            run=f"{len(self.history):06}",
            folder=Path(),
            root=Path(),
            profile=PROFILES["quick"],
            limits=self.limits,
            history=self.history,
            scenario=self.measure,
        )
        context.results["scenario"] = self.measure()
        for name, stage in STAGES.items():
            context.results[name] = stage(context)
        record = Record(context.run, 0.0, stages=context.results)
        self.history.append(record)
        return record

    def runs(self, n: int) -> list[Record]:
        """Some runs."""
        return [self.run() for _ in range(n)]

    def set_baseline(self) -> None:
        """As `flyball reliability baseline`."""
        chosen = series.choose_baseline(self.history, 10, self.limits)
        self.history.append(Record(f"{len(self.history):06}-act", 0.0, act="baseline", heal={"baseline": chosen}))
