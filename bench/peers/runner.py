"""Measure the cases: a warm-up, which also finds each program's better settings, then interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import machine, report
from .cases import OURS, Case
from .process import Failed, Outcome
from .programs import Command, Program, Sample
from .results import Results

Ways = Mapping[str, Command]


class Stopped(Exception):
    """The time given with --stop-after is over."""


@dataclass
class Runner:
    """The state shared by all cases. `programs`: by instruction set, ours first."""

    programs: Mapping[str, Sequence[Program]]
    results: Results
    pairs: int
    execute: Callable[[Sequence[str]], Outcome]
    write: Callable[[str], None]
    stop_at: float = float("inf")
    calibrate: Callable[[], float] = machine.calibration_ms
    _spent: float = field(default=0.0, init=False)
    _expected: float = field(default=0.0, init=False)

    def run(self, cases: Sequence[Case]) -> None:
        """Measure the missing rounds of every case."""
        costs = [self._cost(case) for case in cases]
        for index, case in enumerate(cases):
            entry = self.results.case(case.key, case.about())
            left = sum(costs[index:]) * (self._spent / self._expected if self._expected else 1)
            self.write(f"[{index + 1}/{len(cases)}, about {_duration(left)} left] {case.key} ")
            start = time.monotonic()
            ways = self._warm_up(case, entry)
            for turn in range(self.pairs):
                self._round(case, entry, ways, turn)
            self._spent += time.monotonic() - start
            self._expected += costs[index]
            self.write(f" {_summary(entry)}\n")

    def _cost(self, case: Case) -> float:
        done = len(self.results.document["cases"].get(case.key, {}).get("rounds", []))
        n = max(0, self.pairs - done) + (0 if done else 2)  # warm-up: two settings on average
        return n * len(self.programs[case.isa]) * case.seconds() if case.fits else 0.0

    def _warm_up(self, case: Case, entry: dict[str, Any]) -> dict[str, Ways]:
        """The variants of each program for the case; `chosen` gets the best one."""
        if not entry["rounds"]:
            entry["missing"].clear()  # retry what failed before
        ways: dict[str, Ways] = {}
        for program in self.programs[case.isa]:
            try:
                if not case.fits:
                    raise Failed(f"the model has {case.file.context} positions")
                ways[program.name] = {way.label: way for way in program.commands(case)}
                if program.name not in entry["chosen"] and program.name not in entry["missing"]:
                    entry["chosen"][program.name] = self._best(program, case.trial(), entry)
            except Failed as error:
                entry["missing"][program.name] = str(error)
            self.results.save()
        return ways

    def _best(self, program: Program, case: Case, entry: dict[str, Any]) -> str:
        """Run every variant once as a warm-up. Failing ones are left out unless all fail."""
        tried: dict[str, float] = entry["tried"].setdefault(program.name, {})
        failure = Failed("it has no variant for this case")
        for way in program.commands(case):
            if way.label not in tried:
                try:
                    tried[way.label] = self._sample(program, way, case)["value"]
                except Failed as error:
                    failure = error
                self.results.save()
        if not tried:
            raise failure
        return (max if case.test.higher else min)(tried, key=tried.__getitem__)

    def _round(self, case: Case, entry: dict[str, Any], ways: Mapping[str, Ways], turn: int) -> None:
        programs = [p for p in self.programs[case.isa] if p.name not in entry["missing"]]
        if not programs:
            return
        if turn == len(entry["rounds"]):
            entry["rounds"].append({"calibration_ms": self.calibrate()})
        done = entry["rounds"][turn]
        for program in programs[:: -1 if turn % 2 else 1]:  # the order alternates
            if program.name not in done:
                try:
                    done[program.name] = self._sample(program, ways[program.name][entry["chosen"][program.name]], case)
                except Failed as error:
                    entry["missing"][program.name] = f"in round {turn + 1}: {error}"
                self.results.save()
        self.write(".")

    def _sample(self, program: Program, way: Command, case: Case) -> Sample:
        if time.monotonic() > self.stop_at:
            raise Stopped
        return program.read(case, self.execute(way.argv))


def _summary(entry: Mapping[str, Any]) -> str:
    """The medians and ratios of a case on one line."""
    parts = []
    for name in (OURS, *report.peer_names([entry])):
        median, ratio = report.median(entry, name), report.against(entry, name)
        if median is not None:
            times = f" ({ratio.median:.2f} x)" if ratio and name != OURS else ""
            parts.append(f"{name} {median:.1f}{times}")
    return " | ".join([*parts, *(f"{name}: {reason}" for name, reason in entry["missing"].items())])


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
