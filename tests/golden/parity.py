"""The parity cases: which models and tokens, how their files are made, and what was recorded of llama.cpp.

parity.json, schema 1: `llama_cpp` says what was measured and how, `tokens` holds lists of ids by name, and each of
`cases` holds a recipe, the SHA-256 of the file that the recipe must give, and llama.cpp's distance from the referee.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tests.reference import demo, forward
from tests.reference.adapters import write_adapter
from tests.reference.distance import Distance, distance
from tests.reference.models import TYPES, write_model
from tests.reference.variants import VARIANTS

if TYPE_CHECKING:
    import flyball

RECORD = Path(__file__).with_name("parity.json")
SCHEMA = 1
N_CTX = 512
ALLOWANCE = 1.1  # times llama.cpp's divergence
FLOOR = 1e-9  # nats; below it a difference is rounding of float32 logits, not of a method

Logits = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Recipe:
    """A model file that anybody can make: a variant with random weights, or the bundled model in another type; or such
    a variant with an adapter for every matrix."""

    kind: str  # "random", "adapter" or "demo"
    arch: str
    wtype: str
    seed: int
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.arch}/{self.wtype}" + ("+adapter" if self.kind == "adapter" else "")

    def make(self, path: Path) -> str:
        """Write the file, and that of adapter(); the SHA-256, of both hashes if there are two."""
        if self.kind == "demo":
            return demo.requantize(demo.BUNDLED, path, self.wtype)
        made = write_model(path, self.arch, self.wtype, seed=self.seed, **self.overrides).sha256
        if (adapter := self.adapter(path)) is None:
            return made
        write_adapter(adapter, self.arch, "F16", seed=self.seed + 1, **self.overrides)
        both = made + hashlib.sha256(adapter.read_bytes()).hexdigest()
        return hashlib.sha256(both.encode()).hexdigest()

    def adapter(self, path: Path) -> Path | None:
        """The adapter beside the model's file."""
        return path.with_suffix(".adapter.gguf") if self.kind == "adapter" else None


@dataclass(frozen=True)
class Case:
    recipe: Recipe
    sha256: str
    tokens: tuple[str, ...]  # names of lists of ids; each is one sequence from position 0
    llama_cpp: Distance

    def divergence(self, found: Distance) -> float:
        """What is compared: the mean. With a router, a near tie may go the other way on either side, and the few
        positions after it would be most of the mean: there it is the median."""
        routed = self.recipe.kind != "demo" and VARIANTS[self.recipe.arch].n_expert > 0
        return found.kl_median if routed else found.kl_mean

    @property
    def limit(self) -> float:
        """The greatest divergence with which Flyball passes."""
        return max(ALLOWANCE * self.divergence(self.llama_cpp), FLOOR)


@dataclass(frozen=True)
class Record:
    llama_cpp: Mapping[str, Any]
    tokens: Mapping[str, list[int]]
    cases: tuple[Case, ...]

    def sequences(self, case: Case) -> list[list[int]]:
        return [self.tokens[name] for name in case.tokens]


class StaleRecord(Exception):
    """The recipe gives another file than the one that was measured."""


def recipes() -> Iterator[Recipe]:
    """Every architecture in a float, a block and a superblock type; llama and the bundled model in every type."""
    for arch in VARIANTS:
        own = ("MXFP4",) if arch == "gpt-oss" else ()  # what its files have
        for wtype in TYPES if arch == "llama" else ("F16", "Q8_0", "Q4_K", *own):
            yield Recipe("random", arch, wtype, 1, {})
    yield Recipe("adapter", "qwen3", "Q8_0", 1, {})
    yield Recipe("adapter", "qwen3moe", "F16", 1, {})
    for wtype in TYPES:
        yield Recipe("demo", "demo", wtype, 0, {})


def make_model(case: Case, directory: Path) -> Path:
    """Write the case's file, and refuse it if it is not the one that was measured."""
    path = directory / f"{case.recipe.arch}-{case.recipe.wtype.lower()}.gguf"
    found = case.recipe.make(path)
    if found != case.sha256:
        path.unlink()
        raise StaleRecord(
            f"{case.recipe.name}: the recipe gives a file with SHA-256 {found}, recorded is {case.sha256}; "
            "if the recipe or the bundled model changed on purpose, run `python -m tests.golden.record`"
        )
    return path


def reference(path: Path, sequences: list[list[int]], adapter: Path | None = None) -> forward.F64:
    """The referee's logits, sequences one after the other."""
    referee = forward.referee(path, N_CTX, forward.Adapter(adapter) if adapter else None)
    return np.concatenate([referee.logits(ids) for ids in sequences])


def flyball_session(path: Path, adapter: Path | None = None) -> flyball.Session:
    """Flyball with the case's model and adapter."""
    import flyball

    model = flyball.Model.load(path, context=N_CTX)
    return model.session(adapter=model.load_adapter(adapter) if adapter else None)


def measure(truth: forward.F64, sequences: list[list[int]], runtime: Callable[[list[int]], Logits]) -> Distance:
    """Distance of a runtime, given as a function from ids to logits, from the referee."""
    return distance(truth, np.concatenate([runtime(ids) for ids in sequences]))


def load() -> Record:
    raw = json.loads(RECORD.read_text())
    if raw["schema"] != SCHEMA:
        raise ValueError(f"{RECORD}: schema {raw['schema']}, this code reads {SCHEMA}")
    cases = [
        Case(Recipe(**case["recipe"]), case["sha256"], tuple(case["tokens"]), Distance(**case["llama_cpp"]))
        for case in raw["cases"]
    ]
    return Record(raw["llama_cpp"], raw["tokens"], tuple(cases))


def save(record: Record) -> None:
    """Indented down to the case, one line for each list of ids and each case, so that a change shows as a line."""
    about = json.dumps(record.llama_cpp, indent=1).replace("\n", "\n ")
    tokens = ",\n".join(f"  {json.dumps(name)}: {json.dumps(ids)}" for name, ids in record.tokens.items())
    cases = ",\n".join(f"  {json.dumps(asdict(case))}" for case in record.cases)
    head = f'{{\n "schema": {SCHEMA},\n "llama_cpp": {about},\n'
    text = f'{head} "tokens": {{\n{tokens}\n }},\n "cases": [\n{cases}\n ]\n}}\n'
    aside = RECORD.with_suffix(".tmp")
    aside.write_text(text)
    aside.replace(RECORD)
