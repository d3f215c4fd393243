"""Recorded runs: files of results (flyball.bench.results, so that `flyball bench compare` reads them, too) with more.

schema 1, kind "results", with these members besides: {time, model, iterations, warmup}, and in each case
"scenario": {definition, first_token_ms, generated_tokens, cached_tokens, cycles, busy_ms, peak_memory_mb,
reference_ms, contention, digests, receipts}; its lists are parallel to `ms`, receipts ({file}: a path from this file)
to digests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..bench.fields import Fields, dump
from ..bench.pack import Build, machine
from ..bench.results import Results
from ..engine.model import Model
from ..errors import FormatError, NotFound
from ..reliability.pages.report import date
from .run import Measured
from .scenarios import SCENARIOS

_LISTS = ("first_token_ms", "cycles", "busy_ms", "peak_memory_mb", "reference_ms")
RECEIPTS = "receipts"


@dataclass(frozen=True)
class Case:
    """A scenario of a recorded run; lists have a number for each iteration. `busy_ms`: `ms` without waiting."""

    digest: str
    definition: str
    ms: tuple[float, ...]
    first_token_ms: tuple[float, ...]
    generated_tokens: int
    cycles: tuple[float, ...]
    busy_ms: tuple[float, ...]
    peak_memory_mb: tuple[float, ...]
    reference_ms: tuple[float, ...]
    inflation: float
    receipts: tuple[str, ...]

    @property
    def tokens_per_second(self) -> tuple[float, ...]:
        """Generated tokens over the time of each iteration."""
        return tuple(1e3 * self.generated_tokens / ms for ms in self.ms)


@dataclass(frozen=True)
class Run:
    """A recorded run. `file`: its name; `sha256`: of its bytes; `time`: seconds since 1970."""

    file: str
    sha256: str
    time: float
    model: str
    results: Results
    cases: dict[str, Case]


def write(
    folder: Path, model: Model, measured: Sequence[Measured], iterations: int, warmup: int, time: float
) -> tuple[Path, dict[str, Any]]:
    """Write a run and the receipts of its answers; gives the file and its content."""
    info = model.info
    definitions = "".join(one.scenario.sha256 for one in measured)
    results = Results(
        pack="",
        corpus=hashlib.sha256(definitions.encode()).hexdigest(),
        seed=0,
        fingerprint=info.fingerprint,
        machine=machine(),
        build=Build.here(),
        isa=info.isa,
        threads=info.threads,
        cases={one.scenario.name: one.case() for one in measured},
    )
    document = results.as_dict() | {"time": time, "model": info.name, "iterations": iterations, "warmup": warmup}
    for one in measured:
        samples = one.samples
        document["cases"][one.scenario.name]["scenario"] = {
            "definition": one.scenario.sha256,
            "generated_tokens": samples[0].generated_tokens,
            "cached_tokens": samples[0].cached_tokens,
            "contention": one.contention,
            "digests": list(samples[0].digests),
            "receipts": [{"file": name} for name in _receipts(folder, one)],
        } | {name: [getattr(sample, name) for sample in samples] for name in _LISTS}
    content = dump(document)
    name = f"scenarios-{date(time, '%Y%m%d-%H%M%S')}-{hashlib.sha256(content).hexdigest()[:8]}.json"
    return files.write(folder / name, content), document


def _receipts(folder: Path, measured: Measured) -> list[str]:
    """Paths of the receipts of all answers, relative to the folder. Equal digests have equal receipts."""
    found = []
    for answer in measured.answers:
        name = f"{RECEIPTS}/{answer.digest[:16]}.json"
        if not (folder / name).exists():
            answer.receipt.save(folder / name)
        found.append(name)
    return found


def read(path: Path) -> Run:
    """Read a run; a file that is damaged or of another kind is a FormatError with the place."""
    raw = files.read(path, 64 << 20)
    found = Fields.read(path, "results")
    results = Results.of(found)
    cases = {name: _case(one) for name, one in found.sub("cases").subs() if name in SCENARIOS}
    return Run(path.name, hashlib.sha256(raw).hexdigest(), found.positive("time"), found.text("model"), results, cases)


def _case(found: Fields) -> Case:
    more = found.sub("scenario")
    ms = _positive(found, "ms")
    lists = {name: _positive(more, name) for name in _LISTS}
    for name, numbers in lists.items():
        if len(numbers) != len(ms):
            more.wrong(name, f"has {len(numbers)} numbers, ms has {len(ms)}")
    contention = more.sub("contention")
    return Case(
        digest=found.text("digest", empty=False),
        definition=more.text("definition", empty=False),
        ms=ms,
        generated_tokens=more.integer("generated_tokens", least=1),
        inflation=max(1.0, contention.number_or_none("inflation") or 1.0),
        receipts=_names(more),
        **lists,
    )


def _names(found: Fields) -> tuple[str, ...]:
    """Paths of receipts, which stay inside the folder."""
    names = tuple(one.text("file") for one in found.items(RECEIPTS))
    for name in names:
        if not re.fullmatch(RECEIPTS + r"/[0-9a-f]{16}\.json", name):
            found.wrong(RECEIPTS, f"has {name[:60]!r}, must be {RECEIPTS}/ and 16 digits")
    return names


def _positive(found: Fields, name: str) -> tuple[float, ...]:
    return tuple(x for x in found.numbers(name) if x is not None)


def read_all(folder: Path) -> list[Run]:
    """All runs of a folder, oldest first. One that cannot be read is an error: a gate must not overlook it."""
    if not folder.is_dir():
        raise NotFound(str(folder), "is no folder; flyball bench scenario --all writes runs into artifacts/bench")
    runs = [read(path) for path in sorted(folder.glob("scenarios-*.json"))]
    if not runs:
        raise NotFound(str(folder), "has no runs; flyball bench scenario --all writes them")
    return sorted(runs, key=lambda run: (run.time, run.file))


def receipts_of(folder: Path, case: Case) -> tuple[int, list[str]]:
    """How many receipts are there and valid, and what is wrong with the others."""
    from ..engine.receipt import Receipt

    good, wrong = 0, []
    for name in case.receipts:
        try:
            digest = Receipt.load(folder / name).digest
            if not digest.startswith(Path(name).stem):
                raise FormatError(name, "has another digest than its name")
            good += 1
        except (NotFound, FormatError) as error:
            wrong.append(str(error))
    return good, wrong
