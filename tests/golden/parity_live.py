"""Both runtimes against the referee in one run, on this machine: `make parity`.

    python -m tests.golden.parity_live [CASE ...]

Prints a row per case: llama.cpp's divergence, Flyball's, their ratio, the verdict. Exit code 0: every case holds;
1: some case does not; 2: could not measure (a runtime is missing, a file is not the recorded one, no case chosen).
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.golden import parity
from tests.reference import llama

_NEEDED = {
    "llama_cpp": llama.INSTALL,
    "flyball": "Flyball itself is not importable; install it first:\n  pip install -e .",
}


def compare(record: parity.Record, case: parity.Case, directory: Path) -> bool:
    """Print the case's row; whether Flyball is within the allowance of llama.cpp as measured now."""
    path = parity.make_model(case, directory)
    adapter = case.recipe.adapter(path)
    sequences = record.sequences(case)
    truth = parity.reference(path, sequences, adapter)
    settings = llama.Settings(n_ctx=parity.N_CTX)
    theirs = parity.measure(truth, sequences, lambda ids: llama.logits(path, ids, settings, adapter))
    ours = parity.measure(truth, sequences, parity.flyball_session(path, adapter).logits)
    path.unlink()
    mine, rivals = case.divergence(ours), case.divergence(theirs)
    holds = mine <= replace(case, llama_cpp=theirs).limit  # a NaN does not hold
    ratio = mine / rivals if rivals > 0 else float("nan")
    verdict = "pass" if holds else "FAIL"
    print(f"{case.recipe.name:22} {rivals:12.3e} {mine:12.3e} {ratio:7.3f}  {verdict}", flush=True)
    return holds


def main(argv: Sequence[str]) -> int:
    missing = [advice for module, advice in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print("parity: inconclusive\n" + "\n".join(missing), file=sys.stderr)
        return 2
    record = parity.load()
    chosen = [case for case in record.cases if not argv or case.recipe.name in argv]
    unknown = set(argv) - {case.recipe.name for case in chosen}
    if unknown or not chosen:
        names = " ".join(case.recipe.name for case in record.cases)
        print(f"parity: no such case: {' '.join(sorted(unknown))}; there are: {names}", file=sys.stderr)
        return 2
    print(f"{llama.version()}; Flyball must be within {parity.ALLOWANCE} x llama.cpp's KL (floor {parity.FLOOR:g})")
    print(f"{'case':22} {'KL llama.cpp':>12} {'KL Flyball':>12} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as directory:
        try:
            failed = sum(not compare(record, case, Path(directory)) for case in chosen)
        except Exception as error:  # whatever went wrong, no verdict came of it
            print(f"parity: inconclusive: {type(error).__name__}: {error}", file=sys.stderr)
            return 2
    print(f"{len(chosen) - failed} of {len(chosen)} hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
