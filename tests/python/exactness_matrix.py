"""The exactness matrix (contract 1): every combination that may not change a result, each with its digest.

    python -m tests.python.exactness_matrix [VARIANT-TYPE ...]

A row set is one model with one type of cache. Each of its rows computes the same thing in another way: instruction set,
threads, batch split, and a prefix that is cached or computed again. All digests of a row set must be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import flyball
from tests.python.referee.models import TYPES, VARIANTS, write_model

THREADS = (1, 2, 3, 7)
BATCHES = (1, 8, 32, 512)
CACHES = ("f16", "f32", "q8_0")
N_PROMPT, N_CACHED, N_ANSWER = 37, 21, 6  # not multiples of anything that a kernel works in


@dataclass(frozen=True)
class Combination:
    """One way to compute a row set."""

    isa: str
    threads: int
    batch: int
    prefix: str  # "logits": teacher forced from an empty cache; "recomputed" or "cached": the prompt of a generation

    def __str__(self) -> str:
        return f"{self.isa:7} threads {self.threads}  batch {self.batch:3}  {self.prefix}"


@dataclass(frozen=True)
class Row:
    """A combination and what it computed: (digest of all logits) or (digest of a generation)."""

    combination: Combination
    digest: str


def product(isas: Sequence[str]) -> list[Combination]:
    """Every combination on these instruction sets."""
    prefixes = ("logits", "recomputed", "cached")
    return [
        Combination(isa, threads, batch, prefix)
        for isa in isas
        for threads in THREADS
        for batch in BATCHES
        for prefix in prefixes
    ]


def corners(isas: Sequence[str]) -> list[Combination]:
    """Each instruction set with one thread and a whole batch, and with many threads and a small one."""
    chosen = ((1, 512, "logits"), (7, 8, "logits"), (1, 512, "recomputed"), (3, 8, "cached"))
    return [Combination(isa, *corner) for isa in isas for corner in chosen]


def combinations_of(level: str) -> list[Combination]:
    """What a row set consists of. The scalar table is a hundred times slower, so most sets ask it once or little:

    all       the whole product on every table
    vector    the whole product on the vector tables, corners on the scalar one
    corners   corners on the vector tables, all logits on the scalar one
    """
    *vector, scalar = flyball.isas()
    if level == "all":
        return product([*vector, scalar])
    if level == "vector":
        return product(vector) + corners([scalar])
    return [*corners(vector), Combination(scalar, 2, 512, "logits")]


def compute(path: Path, combinations: Iterable[Combination], cache: str = "f16") -> Iterator[Row]:
    """Compute one row set. Models are loaded once per instruction set, sessions made once per thread count."""
    models: dict[str, flyball.Model] = {}
    sessions: dict[tuple[str, int], flyball.Session] = {}
    for combination in combinations:
        if combination.isa not in models:
            models[combination.isa] = flyball.Model.load(path, isa=combination.isa, threads=2, context=64, cache=cache)
        model = models[combination.isa]
        assert model.info.isa == combination.isa
        key = (combination.isa, combination.threads)
        if key not in sessions:
            sessions[key] = model.session(threads=combination.threads)
        yield Row(combination, _digest(sessions[key], combination, model.info.n_vocab))


def _digest(session: flyball.Session, combination: Combination, n_vocab: int) -> str:
    ids = [(37 * i * i + 11 * i + 5) % n_vocab for i in range(N_PROMPT)]
    if combination.prefix == "logits":
        return hashlib.sha256(session.logits(ids, combination.batch).tobytes()).hexdigest()
    session.reset()
    if combination.prefix == "cached":
        session.generate([*ids[:N_CACHED], 1, 2], 1, batch=combination.batch)
    result = session.generate(ids, N_ANSWER, batch=combination.batch, ignore_eos=True, seed=7)
    assert result.metrics.cached_tokens == (N_CACHED if combination.prefix == "cached" else 0)
    return result.digest


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
    """(variant, type, cache, level) of every row set: all variants in all types, and all types of cache."""
    for variant in VARIANTS:
        for wtype in TYPES:
            if (variant, wtype) == ("llama", "Q8_0"):
                level = "all"
            else:
                level = "vector" if variant == "llama" or wtype == "Q4_K" else "corners"
            yield variant, wtype, "f16", level
    for variant in ("llama", "gemma3"):
        for cache in CACHES[1:]:
            yield variant, "Q8_0", cache, "vector"


def write(folder: Path, variant: str, wtype: str) -> Path:
    """The model of a row set: as narrow as its blocks allow."""
    return write_model(folder / f"{variant}-{wtype}.gguf", variant, wtype, n_ff=256).path


def main() -> int:
    """Print the whole matrix; exit code 0 when every row set agrees, 1 when one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="VARIANT-TYPE", help="such as llama-Q4_K")
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
            n_rows, n_sets = n_rows + len(rows), n_sets + 1
            path.unlink()
    print(f"\n{n_rows} rows in {n_sets} row sets, {len(wrong)} different")
    print("\n".join(wrong))
    return 1 if wrong or not n_rows else 0


if __name__ == "__main__":
    sys.exit(main())
