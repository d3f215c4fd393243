"""Boot images: a FAT volume with the UEFI program and models, made and read by mtools."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..engine.model import demo_model_path
from ..errors import FileError, InvalidArgument, NotFound
from ..paths import AnyPath, expanded
from .tools import LEAST_BYTES, existing, program_path, run, tool

BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"
_LABELS = ("-v", "FLYBALL", "-N", "464c5942")  # a fixed serial number: one from the clock would make every image differ
_PARTITION = "@@1M"  # offset of the volume in an image with a partition table, for mtools
_MOST_FILE_BYTES = (4 << 30) - 1  # of FAT32


def build(
    path: AnyPath,
    models: Sequence[AnyPath] = (),
    config: AnyPath | None = None,
    files: Sequence[AnyPath] = (),
    program: AnyPath | None = None,
    usb: bool = False,
) -> None:
    """Make a FAT32 image that boots: models (default: the bundled one) in models/, `config` as flyball.toml.

    A quarter of the size is left free. `files` go beside the program. `usb`: with a GPT partition table, as USB sticks
    for real machines need; QEMU boots either.
    """
    sources = [Path(expanded(model, "models")) for model in models] or [demo_model_path()]
    boot = Path(expanded(program, "program")) if program is not None else program_path()
    config_file = Path(expanded(config, "config")) if config is not None else None
    beside = [Path(expanded(file, "files")) for file in files]
    total = 0
    for file in [boot, *sources, *beside, *([config_file] if config_file is not None else [])]:
        if not file.is_file():
            raise NotFound(str(file), "is not a file")
        size = file.stat().st_size
        if size > _MOST_FILE_BYTES:
            raise InvalidArgument(str(file), "is larger than 4 GiB, the limit of FAT32; split it")
        total += size
    mebibytes = max(LEAST_BYTES, total + total // 4 + (16 << 20)) >> 20
    image = Path(expanded(path))
    aside = image.with_name(image.name + ".new")
    try:
        with aside.open("wb") as made:
            made.truncate((mebibytes + (2 if usb else 0)) << 20)
        at = ["-i", str(aside)]
        if usb:
            end = (1 + mebibytes) * 2048 - 1  # the last sector; the partition table uses the first and the last MiB
            run(["sgdisk", "-n", f"1:2048:{end}", "-t", "1:EF00", "-c", "1:FLYBALL", str(aside)])
            at = ["-i", f"{aside}{_PARTITION}"]
        run(["mformat", *at, "-F", *_LABELS, "-h", "64", "-t", str(mebibytes), "-s", "32", "::"])
        run(["mmd", *at, "::/EFI", "::/EFI/BOOT", "::/models"])
        run(["mcopy", *at, str(boot), f"::/{BOOT_PATH}"])
        for source in sources:
            run(["mcopy", *at, str(source), f"::/models/{source.name}"])
        for file in beside:
            run(["mcopy", *at, str(file), f"::/{file.name}"])
        if config_file is not None:
            run(["mcopy", *at, str(config_file), "::/flyball.toml"])
        aside.replace(image)
    except OSError as error:
        raise FileError(str(image), f"cannot be written: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _volume(image: Path) -> str:
    """The image's name for mtools."""
    with image.open("rb") as file:
        file.seek(512)
        return f"{image}{_PARTITION}" if file.read(8) == b"EFI PART" else str(image)


def extract(path: AnyPath, folder: AnyPath, names: Iterable[str] = ()) -> list[Path]:
    """Copy files of an image (default: all in its root folder) to a folder; returns their paths."""
    image = existing(path)
    target = Path(expanded(folder, "folder"))
    target.mkdir(parents=True, exist_ok=True)
    wanted = list(names) or _names(image)
    for name in wanted:
        run(["mcopy", "-n", "-o", "-i", _volume(image), f"::/{name}", str(target / Path(name).name)])
    return [target / Path(name).name for name in wanted]


def _names(image: Path) -> list[str]:
    """Files in the root folder."""
    listing = run(["mdir", "-b", "-i", _volume(image), "::/"]).splitlines()
    return [line.removeprefix("::/") for line in listing if line and not line.endswith("/")]


def check(path: AnyPath, repair: bool = False) -> list[str]:
    """Faults of an image's file system, before `repair` where that is set; empty if it is intact."""
    image = existing(path)
    if _volume(image) != str(image):
        raise InvalidArgument(str(image), "has a partition table; only images without one can be checked as a file")
    command = [tool("fsck.fat"), "-a" if repair else "-n", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    faults = [line for line in done.stdout.splitlines()[1:] if line]
    if done.returncode not in (0, 1) or (done.returncode == 1 and not faults):  # its own failure is no verdict
        raise FileError(str(image), f"cannot be checked, fsck.fat ended with {done.returncode}: {done.stderr.strip()}")
    return faults if done.returncode else []
