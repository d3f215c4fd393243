"""What was checked of which variant in which type, as the programs that check recorded it: checks.json.

    python -m tests.golden.checks [--files N] [NAME ...]     # N (2000) damaged files of each model, and records them

`exactness`: rows of a variant's row set, all equal; `image`: processors of QEMU on which receipts of the boot image and
of the host verify each other; `hostile`: damaged files of which each was refused or ran. A name is VARIANT-TYPE. The
matrices write what holds with --record, and docs/models.md shows it (`make models`).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.python.engine import test_hostile_files as hostile
from tests.reference.models import write_model

RECORD = Path(__file__).with_name("checks.json")
KINDS = ("exactness", "image", "hostile")


def load() -> dict[str, dict[str, int]]:
    """Numbers by kind and name."""
    found: dict[str, dict[str, int]] = json.loads(RECORD.read_text())
    return {kind: found.get(kind, {}) for kind in KINDS}


def record(kind: str, numbers: Mapping[str, int]) -> None:
    """Add them to the record, a line for each name in their order. Programs that run for hours share it: a lock keeps
    what another one adds meanwhile, and a whole file replaces it, so that an interruption leaves no part of one."""
    folder = os.open(RECORD.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        known = load()
        known[kind] |= numbers
        new = RECORD.with_suffix(".new")
        new.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        new.replace(RECORD)
    finally:
        os.close(folder)  # and the lock with it


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.checks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "only", nargs="*", choices=[*hostile.MODELS, []], metavar="NAME", help=", ".join(hostile.MODELS)
    )
    parser.add_argument("--files", type=int, default=2000, metavar="N")
    args = parser.parse_args(argv)
    failed = False
    for name in args.only or hostile.MODELS:
        variant, kind, overrides = hostile.MODELS[name]
        with tempfile.TemporaryDirectory() as folder:
            model = write_model(Path(folder) / "model.gguf", variant, kind, **overrides).path
            command = [sys.executable, hostile.__file__, str(model), str(sum(name.encode()) + 1), "0", str(args.files)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        holds = run.returncode == 0 and not json.loads(run.stdout)["broken"]
        print(f"{name:16} {run.stdout.strip() if holds else run.stdout + run.stderr[-400:]}", flush=True)
        if holds:
            record("hostile", {f"{variant}-{kind}": args.files})
        failed |= not holds
    return failed


if __name__ == "__main__":
    sys.exit(main())
