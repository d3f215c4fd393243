"""Whether routing pays: models chosen by task, beside the best single one and one taken by chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .choice import Question, Step, choose
from .history import History
from .question import may_explore
from .score import Candidate, calculate_model_score


@dataclass(frozen=True)
class Policies:
    """Expected shares of good answers: routed by task, of the best single model, of one taken by chance."""

    routed: float
    best_single: float
    best_model: str
    by_chance: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def recorded(history: History, models: Mapping[str, Sequence[str]], cost: float) -> Policies | None:
    """From what users said of answers: what each policy would have given for the tasks as they came. `models`: of each
    task. None: no two models of a task were judged. An estimate, and no bound: what was chosen was not by chance."""
    tasks = {task: history.tasks[task].answers for task in models if task in history.tasks}
    whole = sum(tasks.values())
    if not whole or not any(history.of[key].judged for key in history.of):
        return None

    def quality(task: str, model: str) -> float:
        return calculate_model_score(history.candidate(task, model), 0.0, 0.0).quality

    def of(policy: Callable[[str], float]) -> float:
        return sum(n / whole * policy(task) for task, n in tasks.items())

    def routed(task: str) -> float:
        candidates = tuple(history.candidate(task, model) for model in models[task])
        return quality(task, choose(Question("", {}, 0, False, (Step(task, candidates),), cost)).model)

    everywhere = [name for name in next(iter(models.values())) if all(name in listed for listed in models.values())]
    singles = {model: of(lambda task, model=model: quality(task, model)) for model in everywhere}  # type: ignore[misc]
    best = max(singles, key=lambda model: singles[model], default="")
    chance = of(lambda task: sum(quality(task, model) for model in models[task]) / len(models[task]))
    return Policies(of(routed), singles.get(best, 0.0), best, chance)


@dataclass(frozen=True)
class World:
    """For a simulation: the chance of a good answer and the milliseconds of (task, model)."""

    good: Mapping[tuple[str, str], float]
    ms: Mapping[tuple[str, str], float]

    @property
    def tasks(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys(task for task, _ in self.good))

    @property
    def models(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys(model for _, model in self.good))


@dataclass(frozen=True)
class Run:
    """A simulated run: the shares of good answers, and the mean milliseconds of one, by policy."""

    good: Mapping[str, float]
    ms: Mapping[str, float]
    explored: float


def simulate(world: World, n: int, seed: int, cost: float, explore: float, explored_share: float) -> Run:
    """`n` requests of each task in turn, each answer judged. The policies meet the same luck: whether an answer is good
    is one draw for a request, compared with the chance of whatever model answers it."""
    chance = random.Random(seed)
    seen: dict[tuple[str, str], list[int]] = {}
    totals: dict[str, list[float]] = {}
    n_explored = 0
    for number in range(n * len(world.tasks)):
        task = world.tasks[number % len(world.tasks)]
        candidates = tuple(_candidate(world, seen, task, model) for model in world.models)
        drawn = may_explore(f"{seed}.{number}", explored_share)
        question = Question("", {}, 0, False, (Step(task, candidates),), cost, explore, drawn)
        choice = choose(question)
        n_explored += choice.explored
        luck, other = chance.random(), chance.choice(world.models)
        picked = {"routed": choice.model, "random": other} | {f"single {name}": name for name in world.models}
        for policy, model in picked.items():
            total = totals.setdefault(policy, [0.0, 0.0])
            total[0] += luck < world.good[task, model]
            total[1] += world.ms[task, model]
        counts = seen.setdefault((task, choice.model), [0, 0])
        counts[0] += 1
        counts[1] += luck < world.good[task, choice.model]
    whole = n * len(world.tasks)
    return Run(
        {policy: total[0] / whole for policy, total in totals.items()},
        {policy: total[1] / whole for policy, total in totals.items()},
        n_explored / whole,
    )


def _candidate(world: World, seen: Mapping[tuple[str, str], Sequence[int]], task: str, model: str) -> Candidate:
    judged, good = seen.get((task, model), (0, 0))
    ms = world.ms[task, model] if any(name == model for _, name in seen) else None
    return Candidate(model, judged=judged, good=good, ms=ms)


SIMPLE_AND_COMPLEX = (
    World(  # a small model that is as good at what is simple, and a big one that takes eight times as long
        good={("simple", "small"): 0.95, ("simple", "big"): 0.95, ("complex", "small"): 0.3, ("complex", "big"): 0.9},
        ms={("simple", "small"): 50, ("simple", "big"): 400, ("complex", "small"): 200, ("complex", "big"): 1600},
    )
)


def simulated(n: int, n_runs: int, cost: float, explore: float, explored_share: float) -> Run:
    """The mean of several runs in that world, each with a seed of its own."""
    runs = [simulate(SIMPLE_AND_COMPLEX, n, seed, cost, explore, explored_share) for seed in range(n_runs)]
    return Run(
        {policy: sum(run.good[policy] for run in runs) / n_runs for policy in runs[0].good},
        {policy: sum(run.ms[policy] for run in runs) / n_runs for policy in runs[0].ms},
        sum(run.explored for run in runs) / n_runs,
    )
