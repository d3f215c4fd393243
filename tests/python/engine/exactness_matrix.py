"""The exactness matrix (contract 1): every combination that may not change a result, each with its digest.

    python -m tests.python.engine.exactness_matrix [VARIANT-TYPE ...]

A row set is one model with one type of cache. Each of its rows computes the same thing in another way: instruction set,
threads, batch split, a prefix that is computed, cached by the session or shared by another one, other sequences in the
same batch, and guessed tokens that are checked. All digests of a row set must be equal.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import flyball
from flyball.engine.options import GenerateKeywords
from tests.golden import checks
from tests.reference.models import types_of, write_model
from tests.reference.variants import VARIANTS

THREADS = (1, 2, 3, 7)
BATCHES = (1, 8, 32, 512)
CACHES = ("f16", "f32", "q8_0")
NEIGHBORS = (0, 7)
N_PROMPT, N_CACHED, N_ANSWER = 69, 53, 6  # not multiples of anything that a kernel works in
N_SHARED = 64  # what whole blocks of a shared prefix cover of the prompt
CONTEXT = 96


@dataclass(frozen=True)
class Combination:
    """One way to compute a row set."""

    isa: str
    threads: int
    batch: int
    prefix: str  # "logits": teacher forced from an empty cache; "recomputed", "cached", "shared": how a prompt was got
    neighbors: int = 0  # other sequences in the same calls
    speculation: bool = False  # with guesses of a draft model, which are right and wrong in turn

    def __str__(self) -> str:
        guesses = "  speculation" if self.speculation else ""
        others = f"  neighbors {self.neighbors}" if self.neighbors else ""
        return f"{self.isa:7} threads {self.threads}  batch {self.batch:3}  {self.prefix}{others}{guesses}"


@dataclass(frozen=True)
class Row:
    """A combination and what it computed: (digest of all logits) or (digest of a generation)."""

    combination: Combination
    digest: str


def product(isas: Sequence[str]) -> list[Combination]:
    """Every combination on these instruction sets."""
    generated = [
        (prefix, neighbors, speculation)
        for prefix in ("recomputed", "cached", "shared")
        for neighbors in NEIGHBORS
        for speculation in (False, True)
    ]
    return [
        Combination(isa, threads, batch, *how)
        for isa in isas
        for threads in THREADS
        for batch in BATCHES
        for how in [("logits", 0, False), *generated]
    ]


def corners(isas: Sequence[str]) -> list[Combination]:
    """Each instruction set with one thread and a whole batch, and with many threads and a small one."""
    chosen = (
        (1, 512, "logits"),
        (7, 8, "logits"),
        (1, 512, "recomputed"),
        (3, 8, "cached", 7),
        (2, 512, "shared", 0, True),
    )
    return [Combination(isa, *corner) for isa in isas for corner in chosen]


def paths() -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Instruction set, threads and batches: for tests that compute the same on each. The portable tables are a hundred
    times slower, and get one."""
    for isa in flyball.isas():
        if isa in ("swar", "scalar"):
            yield isa, 2, (7,)
        else:
            yield from ((isa, threads, (1, 7, 64)) for threads in (1, 2, 3))


def combinations_of(level: str) -> list[Combination]:
    """What a row set consists of. The portable tables are a hundred times slower, so most sets ask them once or little:

    all       the whole product on the vector tables and the scalar one, corners on that of 64-bit words
    vector    the whole product on the vector tables, corners on the portable ones
    corners   corners on the vector tables, all logits on the portable ones
    """
    *vector, swar, scalar = flyball.isas()
    if level == "all":
        return product([*vector, scalar]) + corners([swar])
    if level == "vector":
        return product(vector) + corners([swar, scalar])
    return [*corners(vector), *(Combination(isa, 2, 512, "logits") for isa in (swar, scalar))]


class Computer:
    """One model file with one type of cache. Loaded once per instruction set, sessions made once per thread count."""

    def __init__(self, path: Path, cache: str) -> None:
        self._path, self._cache = path, cache
        self._models: dict[tuple[str, bool], flyball.Model] = {}
        self._sessions: dict[tuple[str, bool, int], list[flyball.Session]] = {}

    def digest(self, c: Combination) -> str:
        """Compute one row."""
        shared = c.prefix == "shared"
        model, (session, *others) = self._sessions_of(c, shared)
        n_vocab = model.info.n_vocab
        ids = [(37 * i * i + 11 * i + 5) % n_vocab for i in range(N_PROMPT)]
        if c.prefix == "logits":
            return hashlib.sha256(session.logits(ids, c.batch).tobytes()).hexdigest()
        for used in (session, *others):
            used.reset()
        if c.prefix == "cached":
            session.generate([*ids[:N_CACHED], 1, 2], 1, batch=c.batch)
        elif shared:
            others[0].generate([*ids[:-1], 1, 2], 1, batch=c.batch)
            others[0].reset()
        # A draft model of the same weights is right wherever the likeliest token is drawn, and wrong elsewhere.
        drafting: GenerateKeywords = {"draft": model, "speculate": "always"} if c.speculation else {"speculate": "off"}
        options: GenerateKeywords = {"batch": c.batch, "ignore_eos": True, "seed": 7, **drafting}
        if c.neighbors:
            result = asyncio.run(_in_company(session, others[: c.neighbors], ids, options))
        else:
            result = session.generate(ids, N_ANSWER, **options)
        assert result.metrics.cached_tokens == {"cached": N_CACHED, "shared": N_SHARED}.get(c.prefix, 0)
        assert result.metrics.shared_tokens == (N_SHARED if shared else 0)
        if c.speculation and not c.neighbors:  # not beside others, as their tokens fill the batch
            assert result.metrics.speculation.drafted > 0
        return result.digest

    def _sessions_of(self, c: Combination, shared: bool) -> tuple[flyball.Model, list[flyball.Session]]:
        key = (c.isa, shared)
        if key not in self._models:
            self._models[key] = flyball.Model.load(
                self._path,
                isa=c.isa,
                threads=2,
                context=CONTEXT,
                cache_type=self._cache,
                prefix_cache_mb=16 if shared else 0,
            )
        model = self._models[key]
        assert model.info.isa == c.isa
        sessions = self._sessions.setdefault((*key, c.threads), [])
        while len(sessions) < 1 + max(c.neighbors, 1):
            sessions.append(model.session(threads=c.threads))
        return model, sessions


async def _in_company(
    session: flyball.Session, others: list[flyball.Session], ids: list[int], options: GenerateKeywords
) -> flyball.Result:
    """The answer among others of other lengths, which join before it and leave during it."""
    company = [
        other.agenerate([ids[(3 * n + i) % len(ids)] for i in range(2 + 7 * n)], 1 + n, **options)
        for n, other in enumerate(others)
    ]
    return (await asyncio.gather(*company, session.agenerate(ids, N_ANSWER, **options)))[-1]


def compute(path: Path, combinations: Iterable[Combination], cache: str = "f16") -> Iterator[Row]:
    """Compute one row set."""
    computer = Computer(path, cache)
    for combination in combinations:
        yield Row(combination, computer.digest(combination))


def differences(rows: Iterable[Row]) -> list[str]:
    """The rows that do not agree with the first one of their kind; empty when all is well."""
    expected: dict[bool, Row] = {}
    wrong = []
    for row in rows:
        first = expected.setdefault(row.combination.prefix == "logits", row)
        if row.digest != first.digest:
            wrong.append(f"{row.combination}: {row.digest[:16]}, but {first.combination}: {first.digest[:16]}")
    return wrong


def show(title: str, rows: Iterable[Row]) -> list[Row]:
    """Print every row as it comes."""
    kept = []
    print(f"\n{title}")
    for row in rows:
        kept.append(row)
        print(f"  {row.combination}  {row.digest[:32]}")
    return kept


def cases() -> Iterator[tuple[str, str, str, str]]:
    """(variant, type, cache, level) of every row set: all variants in their types, and all types of cache."""
    for variant in VARIANTS:
        for wtype in types_of(variant):
            if (variant, wtype) == ("llama", "Q8_0"):
                level = "all"
            else:
                level = "vector" if variant == "llama" or wtype == "Q4_K" else "corners"
            yield variant, wtype, "f16", level
    for variant in ("llama", "gemma3"):
        for cache in CACHES[1:]:
            yield variant, "Q8_0", cache, "vector"


_WHOLE_PRODUCTS = (("llama", "Q8_0"), ("llama", "Q4_K"))


def sample() -> Iterator[tuple[str, str, str, str]]:
    """What `make test` computes of them: all types of llama, of the other variants three in turn, mostly at corners."""
    for variant, wtype, cache, level in cases():
        types, number = types_of(variant), list(VARIANTS).index(variant)
        is_whole = variant == "llama" or cache != "f16"
        if is_whole or (types.index(wtype) - number) % (len(types) // 3) == 0:
            yield variant, wtype, cache, level if (variant, wtype) in _WHOLE_PRODUCTS else "corners"


def write(folder: Path, variant: str, wtype: str) -> Path:
    """The model of a row set: as narrow as its blocks allow."""
    return write_model(folder / f"{variant}-{wtype}.gguf", variant, wtype, n_ff=256).path


def main() -> int:
    """Print the whole matrix; exit code 0 when every row set agrees, 1 when one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="VARIANT-TYPE", help="such as llama-Q4_K")
    parser.add_argument("--record", action="store_true", help="add what is equal to tests/golden/checks.json")
    args = parser.parse_args()
    wrong: list[str] = []
    n_rows = n_sets = 0
    with tempfile.TemporaryDirectory() as folder:
        for variant, wtype, cache, level in cases():
            name = f"{variant}-{wtype}"
            if args.only and name not in args.only:
                continue
            path = write(Path(folder), variant, wtype)
            rows = show(f"{name}, cache {cache}", compute(path, combinations_of(level), cache))
            found = differences(rows)
            print("  " + ("EQUAL" if not found else "DIFFERENT"))
            wrong += [f"{name}, cache {cache}: {line}" for line in found]
            if args.record and not found and cache == "f16":
                checks.record("exactness", {name: len(rows)})
            n_rows, n_sets = n_rows + len(rows), n_sets + 1
            path.unlink()
    print(f"\n{n_rows} rows in {n_sets} row sets, {len(wrong)} different")
    print("\n".join(wrong))
    return 1 if wrong or not n_rows else 0


if __name__ == "__main__":
    sys.exit(main())
