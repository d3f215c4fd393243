"""Run a pack: one build in this process, or two builds in turn in their own processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..errors import Error
from .fields import Fields
from .pack import Build, Case, Pack, machine
from .process import Process, instructions
from .results import CaseResult, Pairs, Results
from .worker import Runner, Sample

Progress = Callable[[str, int, int], object]

RUNS = 10  # per sample, which is the fastest of them: disturbances only ever slow a run down
_SAMPLE_MS = 300  # per sample: long runs get fewer repeats


class Measures(Protocol):
    """Runs a case once."""

    def measure(self, case: Case, seed: int) -> Sample:
        """Run a case once and return its counts and times."""
        ...


class _Side:
    """The samples and failures of one build so far."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self.failures: dict[str, str] = {}
        self._first: dict[str, Sample] = {}

    def run(self, case: Case, seed: int, by: Measures) -> Sample | None:
        """One run; None if it failed or differs from earlier runs."""
        if case.id in self.failures:
            return None
        try:
            sample = by.measure(case, seed)
        except Error as error:
            self.failures[case.id] = str(error)
            return None
        first = self._first.setdefault(case.id, sample)
        if sample.digest != first.digest:
            self.failures[case.id] = "gives another answer in a repeated run"
        elif sample.counters != first.counters:
            self.failures[case.id] = "does different work in a repeated run"
        return None if case.id in self.failures else sample

    def results(self, pack: Pack, build: Build, isa: str, threads: int, instructions: Mapping[str, int]) -> Results:
        """The results of the cases that did not fail."""
        cases = {}
        for case in pack.corpus.cases:
            samples = self.samples.get(case.id)
            if samples and case.id not in self.failures:
                cases[case.id] = CaseResult(
                    digest=samples[0].digest,
                    counters=samples[0].counters,
                    ms=tuple(sample.ms for sample in samples),
                    prefill_cycles_per_token=tuple(sample.prefill_cycles_per_token for sample in samples),
                    decode_cycles_per_token=tuple(sample.decode_cycles_per_token for sample in samples),
                    instructions=instructions.get(case.id),
                )
        return Results(
            pack=pack.sha256,
            corpus=pack.corpus.sha256,
            seed=pack.seed,
            fingerprint=pack.fingerprint,
            machine=machine(),
            build=build,
            isa=isa,
            threads=threads,
            cases=cases,
            failures=dict(self.failures),
        )


class _Rounds:
    """Rounds of all cases, each with one sample per side. `most_runs`: the maximum per sample."""

    def __init__(self, pack: Pack, most_runs: int, order: random.Random) -> None:
        self._pack = pack
        self._most_runs = most_runs
        self._order = order
        self._n_runs: dict[str, int] = {}  # runs per sample; equal for all sides, as more runs have a faster minimum

    def run(self, turn: Sequence[tuple[_Side, Measures]]) -> None:
        """One round. It ends early if a process died."""
        cases = self._pack.corpus.cases
        for side, by in turn:
            side.run(cases[0], self._pack.seed, by)  # warm-up
        for case in self._order.sample(cases, len(cases)):
            if any(isinstance(by, Process) and by.ended for _, by in turn):
                return
            self._sample(case, self._order.sample(turn, len(turn)))

    def _sample(self, case: Case, turn: Sequence[tuple[_Side, Measures]]) -> None:
        seed = self._pack.seed
        if any(case.id in side.failures for side, _ in turn):
            return
        if case.id not in self._n_runs:
            first = [sample for side, by in turn if (sample := side.run(case, seed, by)) is not None]
            if len(first) < len(turn):
                return
            self._n_runs[case.id] = max(1, min(self._most_runs, int(_SAMPLE_MS / max(s.ms for s in first))))
        runs: list[list[Sample]] = [[] for _ in turn]
        for _ in range(self._n_runs[case.id]):
            for (side, by), found in zip(turn, runs, strict=True):
                sample = side.run(case, seed, by)
                if sample is None:
                    return
                found.append(sample)
        for (side, _), found in zip(turn, runs, strict=True):
            side.samples.setdefault(case.id, []).append(min(found, key=lambda sample: sample.ms))


def run(
    pack: Pack,
    model: Path,
    threads: int,
    repeat: int,
    progress: Progress,
    most_runs: int = RUNS,
    count: bool = True,
) -> Results:
    """Measure `repeat` samples of each case with this build. `count`: also count instructions if the machine can."""
    runner = Runner.open(model, pack.corpus.context, threads)
    info = runner.model.info
    pack.check_model(model, info.fingerprint)
    side = _Side()
    rounds = _Rounds(pack, most_runs, random.Random(pack.seed))
    for done in range(repeat):
        progress("measure", done, repeat)
        rounds.run([(side, runner)])
    progress("measure", repeat, repeat)
    counted = instructions(None, pack, model, progress) if count else {}
    return side.results(pack, Build.here(), info.isa, threads, counted)


def against(
    pack: Pack, python: str, model: Path, threads: int, repeat: int, progress: Progress, seed: int = 0
) -> Pairs:
    """Measure another environment's build (base) and this one (current) in pairs.

    Each round has new processes, as the memory layout of a process changes its speed by some percent. The pack's seed
    and `seed` determine the order of the cases and which side begins a pair.
    """
    sides = (_Side(), _Side())
    rounds = _Rounds(pack, RUNS, random.Random(f"{pack.seed} {seed}"))
    opened: list[Fields] = []
    for done in range(repeat):
        progress("measure", done, repeat)
        with Process(python, pack, model, threads) as base, Process(None, pack, model, threads) as current:
            opened = [base.opened, current.opened]
            rounds.run([(sides[0], base), (sides[1], current)])
    progress("measure", repeat, repeat)
    found = [
        side.results(
            pack,
            Build.of(about.sub("build")),
            about.text("isa"),
            threads,
            instructions(which, pack, model, progress),
        )
        for side, about, which in zip(sides, opened, (python, None), strict=True)
    ]
    return Pairs(found[0], found[1])
