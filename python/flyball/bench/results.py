"""Files of results.

schema 1, kind "results": {schema, kind, pack, corpus, seed, fingerprint, machine, build, isa, threads, cases, failures}
schema 1, kind "pairs":   {schema, kind, base, current, again}; sample i of a case in base and in current is a pair;
                          `again`: null, or pairs of the cases that were measured a second time
"""

from __future__ import annotations

import os
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from .fields import SCHEMA, Fields
from .pack import Build
from .worker import COUNTERS


@dataclass(frozen=True)
class CaseResult:
    """Results of a case. Digest and counters are exact; `instructions`: of one run with one thread, None: not measured.

    Samples are in the order of measurement; cycles per token are None if no token was computed.
    """

    digest: str
    counters: dict[str, int]
    ms: tuple[float, ...]
    prefill_cycles_per_token: tuple[float | None, ...]
    decode_cycles_per_token: tuple[float | None, ...]
    instructions: int | None = None

    @property
    def median_ms(self) -> float:
        """Median wall time in milliseconds."""
        return statistics.median(self.ms)

    @property
    def prefill(self) -> float | None:
        """Median cycles per token."""
        return _median(self.prefill_cycles_per_token)

    @property
    def decode(self) -> float | None:
        """Median cycles per token."""
        return _median(self.decode_cycles_per_token)

    @classmethod
    def of(cls, found: Fields) -> CaseResult:
        """From JSON."""
        counts = found.sub("counters")
        ms = found.numbers("ms")
        phases = [found.numbers(f"{name}_cycles_per_token", missing=True) for name in ("prefill", "decode")]
        if not ms:
            found.wrong("ms", "is empty")
        if any(len(phase) != len(ms) for phase in phases):
            found.wrong("ms", "has another number of samples than the cycles per token")
        return cls(
            digest=found.text("digest", empty=False),
            counters={name: counts.integer(name) for name in COUNTERS},
            ms=tuple(x for x in ms if x is not None),
            prefill_cycles_per_token=phases[0],
            decode_cycles_per_token=phases[1],
            instructions=found.integer("instructions") if found.has("instructions") else None,
        )


@dataclass(frozen=True)
class Results:
    """Results of one build. `pack`, `corpus` and `fingerprint` are SHA-256s; `failures`: failed cases with cause."""

    pack: str
    corpus: str
    seed: int
    fingerprint: str
    machine: dict[str, Any]
    build: Build
    isa: str
    threads: int
    cases: dict[str, CaseResult]
    failures: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        cases = {name: {"median_ms": case.median_ms} | asdict(case) for name, case in self.cases.items()}
        return {"schema": SCHEMA, "kind": "results"} | asdict(self) | {"cases": cases}

    @classmethod
    def of(cls, found: Fields) -> Results:
        """From JSON."""
        where = found.sub("machine")
        failures = found.sub("failures")
        return cls(
            pack=found.text("pack"),
            corpus=found.text("corpus"),
            seed=found.integer("seed"),
            fingerprint=found.text("fingerprint", empty=False),
            machine={
                "name": where.text("name"),
                "n_processors": where.integer("n_processors"),
                "digest": where.text("digest", empty=False),
            },
            build=Build.of(found.sub("build")),
            isa=found.text("isa"),
            threads=found.integer("threads"),
            cases={name: CaseResult.of(case) for name, case in found.sub("cases").subs()},
            failures={name: failures.text(name) for name in failures.names()},
        )


@dataclass(frozen=True)
class Pairs:
    """Results of two builds, measured in turn. `again`: a second measurement of the cases that seemed slower."""

    base: Results
    current: Results
    again: Pairs | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        again = None if self.again is None else self.again.as_dict()
        return {
            "schema": SCHEMA,
            "kind": "pairs",
            "base": self.base.as_dict(),
            "current": self.current.as_dict(),
            "again": again,
        }

    @classmethod
    def of(cls, found: Fields) -> Pairs:
        """From JSON."""
        again = found.sub("again") if found.has("again") else None
        return cls(*_sides(found), None if again is None else cls(*_sides(again)))


def _sides(found: Fields) -> tuple[Results, Results]:
    base, current = Results.of(found.sub("base")), Results.of(found.sub("current"))
    for name in base.cases.keys() & current.cases.keys():
        if len(base.cases[name].ms) != len(current.cases[name].ms):
            found.wrong(name, "has different numbers of samples in base and current, so they are not pairs")
    return base, current


def read(path: str | os.PathLike[str]) -> Results | Pairs:
    """Read a file of results or pairs."""
    found = Fields.read(path, "results|pairs")
    return Pairs.of(found) if found.text("kind") == "pairs" else Results.of(found)


def _median(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
