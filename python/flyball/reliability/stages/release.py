"""Release: ops/release of the checkout makes a release in the run's folder and judges it."""

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
    """Make a release by the checkout of this package; inconclusive if there is none."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parents[1]
    if not (checkout / "ops/release").is_dir() or not (checkout / ".git").exists():
        message = f"{package} is not in a checkout of the sources"
        hint = "run it from a checkout, after make run"
        return StageResult("release", inconclusive("PREFLIGHT_MISSING", message, hint))
    folder, kept = context.folder.resolve() / "release", context.root.resolve()
    command = [sys.executable, "-m", "ops.release", str(folder), "--kept", str(kept)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InternalError("python -m ops.release", done.stderr[-1000:].strip())
    found = json.loads(done.stdout)
    return StageResult("release", Verdict.from_dict(found["verdict"]), found["values"])
