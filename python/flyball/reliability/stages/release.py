"""Release: a program of the checkout (ops/release) makes one in release/ of the run's folder, and judges it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ...errors import InternalError
from ...evidence.gates import Verdict, inconclusive
from ..context import Context
from ..results import StageResult


def run(context: Context) -> StageResult:
    """By a program of the checkout that the package lies in; an installed package has none."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parents[1]
    if not (checkout / "ops/release").is_dir() or not (checkout / ".git").exists():
        told = f"{package} is in no checkout of the sources"
        hint = "a release is made from one: make run, and again"
        return StageResult("release", inconclusive("PREFLIGHT_MISSING", told, hint))
    folder, kept = context.folder.resolve() / "release", context.root.resolve()
    command = [sys.executable, "-m", "ops.release", str(folder), "--kept", str(kept)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InternalError("python -m ops.release", done.stderr[-1000:].strip())
    found = json.loads(done.stdout)
    return StageResult("release", Verdict.from_dict(found["verdict"]), found["values"])
