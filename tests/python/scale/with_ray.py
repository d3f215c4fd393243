"""Streams through an edge before replicas of Ray Serve that are killed, with Ray in an environment of its own.

    python -m tests.python.scale.with_ray [--minutes 1]

The environment stays in build/ray, so that a second run installs nothing. Where the user may have a network of its own
for it, all of Ray stays inside.
"""

from __future__ import annotations

import argparse
import os
import shlex
import site
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "build/ray"
PACKAGE = "ray[serve]>=2.60,<3"
_PROGRAMS = ("raylet", "gcs_server", "ray::")


def environment() -> Path:
    """The Python of an environment with Ray, and with all that this one has."""
    python = FOLDER / "bin" / "python"
    installed = FOLDER / "installed"
    if installed.exists() and installed.read_text() == PACKAGE:
        return python
    venv.create(FOLDER, clear=True, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
    (packages,) = FOLDER.glob("lib/python*/site-packages")
    lines = "".join(f"import site; site.addsitedir({each!r})\n" for each in site.getsitepackages())
    (packages / "flyball-environment.pth").write_text(lines)
    installed.write_text(PACKAGE)
    return python


def main() -> int:
    """The exit code of bench.survival."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", default="1")
    parser.add_argument("--streams", default="12")
    args = parser.parse_args()
    python = environment()
    words = (python, "-m", "bench.survival", "--behind", "ray", "--minutes", args.minutes, "--streams", args.streams)
    command = list(map(str, words))
    variables = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{python.parent}:{os.environ['PATH']}"}
    # Its proxy has 5 seconds to start by default, which a busy machine does not keep.
    variables |= {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120"}
    if os.geteuid() == 0:
        command = ["unshare", "-n", "sh", "-c", f"ip link set lo up && {shlex.join(command)}"]
        variables |= {"RAY_AUTH_MODE": "disabled"}
    try:
        return subprocess.run(command, cwd=ROOT, env=variables).returncode
    finally:
        for name in _PROGRAMS:
            subprocess.run(["pkill", "-f", name], check=False)


if __name__ == "__main__":
    sys.exit(main())
