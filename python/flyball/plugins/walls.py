"""What stands around a plugin's process from outside: a sandbox of bubblewrap, else namespaces, else nothing.

The process seals itself as well (seal.py). What holds in the end, of files, network and processes, is told.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PARTS = ("files", "network", "processes")
CHILD = Path(__file__).parent / "child.py"
_PATIENCE_SECONDS = 20
_SYSTEM = ("/usr", "/lib", "/lib64")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_NAMESPACES = ("--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")


@dataclass(frozen=True)
class Wall:
    """`name`: bubblewrap, namespaces or none; `holds`: what it keeps a plugin from, beside its own seal."""

    name: str
    holds: tuple[str, ...]
    program: str = ""

    def command(self, folder: str, read: Sequence[str], words: Sequence[str]) -> list[str]:
        """The command of Python with these words. `folder` and `read` can be read in it, beside Python."""
        python = [sys.executable, "-I", "-B", "-X", "utf8", *words]
        if self.name == "bubblewrap":
            return [self.program, *_BUBBLEWRAP, *_binds([folder, *readable(), *read]), *_CLOSED, *python]
        if self.name == "namespaces":
            setpriv = os.path.join(os.path.dirname(self.program), "setpriv")  # of the same package
            return [setpriv, "--pdeathsig", "KILL", "--", self.program, *_NAMESPACES, *python]
        return python


_BUBBLEWRAP = ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--clearenv", "--dev", "/dev")
_CLOSED = ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/")


def readable() -> list[str]:
    """The paths that Python needs, and the plugin's own modules of Flyball."""
    found = [*_SYSTEM, sys.base_prefix, sys.prefix, str(CHILD.parent)]
    return [path for path in dict.fromkeys(found) if os.path.exists(path)]


def sealed(folder: str, read: Sequence[str]) -> list[str]:
    """The paths that stay readable for a process that has sealed itself."""
    return [folder, *readable(), *read, *_DEVICES]


def _binds(paths: Sequence[str]) -> list[str]:
    return [word for path in dict.fromkeys(paths) for word in ("--ro-bind-try", path, path)]


@cache
def best() -> Wall:
    """The best wall that this system has: each is tried."""
    bubblewrap, unshare = shutil.which("bwrap"), shutil.which("unshare")
    walls = [Wall("bubblewrap", PARTS, bubblewrap)] if bubblewrap else []
    walls += [Wall("namespaces", ("network", "processes"), unshare)] if unshare else []
    return next((wall for wall in walls if _stands(wall)), Wall("none", ()))


def _stands(wall: Wall) -> bool:
    command = wall.command("/usr", (), ("-c", ""))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_SECONDS, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@cache
def own_seal() -> tuple[str, ...]:
    """What a process's own seal keeps in here: tried in one."""
    program = "import json, sys; sys.path.insert(0, sys.argv[1]); import seal; print(json.dumps(seal.close(2**30, [])))"
    command = [sys.executable, "-I", "-c", program, str(CHILD.parent)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_SECONDS, check=False
    )
    return tuple(json.loads(done.stdout)) if done.returncode == 0 else ()


def described(wall: Wall, holds: Sequence[str]) -> str:
    """What keeps plugins in, in words; `holds`: of the process's own seal."""
    kept = [part for part in PARTS if part in wall.holds or part in holds]
    missing = [part for part in PARTS if part not in kept]
    about = f"{wall.name} and seal" if wall.name != "none" and holds else "seal" if holds else wall.name
    said = f"{about}: {', '.join(kept) or 'nothing'} kept in"
    return said + (f"; NOT kept in: {', '.join(missing)} (install bubblewrap)" if missing else "")
