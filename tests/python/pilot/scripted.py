"""Models that say what a test has them say, and a clock that only their answers move."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyball.pilot import run, stub
from flyball.pilot.agents import NAMES
from flyball.pilot.models import Question, Reply
from flyball.pilot.profiles import variants_of
from flyball.pilot.record import Profile, Record
from flyball.pilot.report import write
from flyball.pilot.split import Split
from flyball.scorecard.subjects import About

ANSWERS: dict[str, dict[str, Any]] = {
    "event": {"event": "storm", "place": "ford", "line": "The river rises."},
    "map": {"call": "path", "from": "mill", "to": "camp"},
    "world": {
        "ada": {"do": "gather", "to": "ford"},
        "bo": {"do": "guard", "to": "mill"},
        "cy": {"do": "rest", "to": "hill"},
    },
    "judge": {"verdict": "accept", "share": True, "line": "Well played."},
}
CLASH = {name: {"do": "gather", "to": "ford"} for name in ("ada", "bo", "cy")}
PROFILE = Profile("default", variants_of("default", ""), {})
Delay = Callable[[int, str], float]


@dataclass
class Clock:
    """Seconds that go on by sleeping alone."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Scripted:
    """Gives the same answer each turn, after a delay in milliseconds; `direct`: what it took, by its own count."""

    clock: Clock
    agent: str
    delay: Delay
    answer: str
    about: About = field(default_factory=lambda: About("scripted", fingerprint="ab"))
    direct: list[float] = field(default_factory=list)

    def ask(self, question: Question) -> Reply:
        ms = self.delay(question.turn, self.agent)
        self.clock.sleep(ms / 1e3)
        self.direct.append(ms)
        return Reply(self.answer, 20, Split(model=ms), None)


def scripted(clock: Clock, delay: Delay, answers: Mapping[str, Any] = {}) -> dict[str, Scripted]:
    """A model for each agent. `answers`: others than ANSWERS, as JSON or as text."""
    said = {name: answers.get(name, ANSWERS[name]) for name in NAMES}
    texts = {name: one if isinstance(one, str) else json.dumps(one) for name, one in said.items()}
    return {name: Scripted(clock, name, delay, texts[name]) for name in NAMES}


def live(
    folder: Path, turns: int, delay: Delay = lambda *_: 10.0, answers: Mapping[str, Any] = {}, at: float = 1.8e9
) -> tuple[Record, Path]:
    """A live record of scripted models, and its file."""
    clock = Clock()
    plan = run.Plan(folder, "test", turns)
    record = run.live(plan, scripted(clock, delay, answers), PROFILE, True, clock, lambda: at)
    return record, write(folder, record)[0]


def replayed(path: Path, turns: int, times: stub.Times, folder: Path | None = None) -> Record:
    """A stub's record of a live one."""
    clock = Clock()
    plan = run.Plan(folder or path.parent, "test", turns)
    return run.replay(plan, path, times, clock, clock.sleep, lambda: 1.8e9)
