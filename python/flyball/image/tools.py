"""The tools that make and run images, and checks for missing ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import Error, FileError, NotFound
from ..paths import AnyPath, expanded
from .contents import gather, memory_of, model_parts

_FIRMWARE = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
_FIRMWARE_FOLDERS = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf", "/usr/share/qemu")
LEAST_BYTES = 64 << 20
_PACKAGES = {
    "mformat": "mtools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mdir": "mtools",
    "fsck.fat": "dosfstools",
    "sgdisk": "gdisk",
    "qemu-system-x86_64": "qemu-system-x86",
}


def program_path() -> Path:
    """The program for UEFI; `make efi` builds it."""
    path = Path(__file__).parents[1] / "data" / "flyball.efi"
    if not path.exists():
        raise NotFound(str(path), "does not exist; `make efi` builds it and needs clang-19 and lld-19")
    return path


def tool(name: str) -> str:
    """Path of a tool; raises NotFound with its Debian package."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NotFound(name, f"is not installed; install the package {_PACKAGES[name]}")
    return found


def firmware() -> tuple[Path, Path]:
    """Code and variables of the firmware for QEMU."""
    for folder in map(Path, _FIRMWARE_FOLDERS):
        code, variables = (folder / name for name in _FIRMWARE)
        if code.exists() and variables.exists():
            return code, variables
    raise NotFound(_FIRMWARE[0], "is not installed; install the package ovmf for QEMU's firmware")


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. It can ask nothing: mtools would ask on the terminal itself, so it gets none."""
    return subprocess.run(
        [tool(command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run(command: list[str], about: object) -> str:
    """Run a program to its end; returns its output. `about`: the file that its failure is reported of."""
    done = ended(command)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise FileError(str(about), f"{command[0]} failed: {said}")
    return done.stdout


def beside_python(program: str) -> str:
    """Path of a program of the package."""
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        raise NotFound(program, "is not beside this Python; reinstall flyball, which installs it")
    return found


class Wanting(NamedTuple):
    """A missing requirement, as an error names it: the cause and the remedy."""

    what: str
    why: str


def preflight(
    folder: AnyPath, n_bytes: int = LEAST_BYTES, model: AnyPath | None = None, memory_mb: int | None = None
) -> list[Wanting]:
    """Missing requirements of building and running an image in `folder`.

    `n_bytes`: of the model, where it is not named. `model`: it is looked at as `build` would. `memory_mb`: of the
    machine that is to run it.
    """
    wanting = []

    def needs(look: Callable[[], object]) -> None:
        try:
            look()
        except Error as error:
            wanting.append(Wanting(error.where, error.what))

    needs(program_path)
    for name in _PACKAGES:
        if name != "sgdisk":  # only needed for USB sticks
            needs(partial(tool, name))
    needs(firmware)
    if model is not None:
        n_found = len(wanting)
        source = Path(expanded(model, "model")).absolute()
        needs(lambda: gather(None, [source], None, []))
        if len(wanting) == n_found:  # it can be run
            n_bytes = max(LEAST_BYTES, sum(part.stat().st_size for part in model_parts(source)))
            needed = memory_of(source) >> 20
            if memory_mb is not None and memory_mb < needed:
                why = (
                    f"needs a machine with {needed} MiB of memory, this has {memory_mb}; give it more or take a smaller"
                )
                wanting.append(Wanting(str(source), why + " model"))
    free = shutil.disk_usage(folder).free
    if free < 2 * n_bytes:
        wanting.append(Wanting(str(folder), f"has {free >> 20} MiB free, {2 * n_bytes >> 20} are needed; make room"))
    return wanting
