"""Boot images: a FAT volume with the UEFI program and models, made and read by mtools."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..engine.model import demo_model_path
from ..errors import FileError, InvalidArgument
from ..paths import AnyPath, expanded
from .contents import Entry, gather
from .partitions import Volume, find_volume, opened
from .tools import LEAST_BYTES, ended, program_path, run

_LABELS = ("-v", "FLYBALL", "-N", "464c5942")  # a fixed serial number: one from the clock would make every image differ
_PARTITION = "@@1M"  # offset of the volume in an image with a partition table, for mtools
_PIECE = 1 << 20


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
    for real machines need; QEMU boots either. Raises Error, before anything is written, for what would not fit or not
    work at boot: names, models, the configuration.
    """
    image = Path(expanded(path))
    entries = gather(
        _absolute(program, "program") if program is not None else program_path(),
        [_absolute(model, "models") for model in models] or [demo_model_path()],
        _absolute(config, "config") if config is not None else None,
        [_absolute(file, "files") for file in files],
    )
    total = sum(entry.source.stat().st_size for entry in entries)
    _check_target(image, entries, total)
    mebibytes = max(LEAST_BYTES, total + total // 4 + (16 << 20)) >> 20
    aside = image.with_name(image.name + ".new")
    try:
        with aside.open("wb") as made:
            made.truncate((mebibytes + (2 if usb else 0)) << 20)
        at, hidden = ["-i", str(aside)], []
        if usb:
            end = (1 + mebibytes) * 2048 - 1  # the last sector; the partition table uses the first and the last MiB
            run(["sgdisk", "-n", f"1:2048:{end}", "-t", "1:EF00", "-c", "1:FLYBALL", str(aside)], image)
            at, hidden = ["-i", f"{aside}{_PARTITION}"], ["-H", "2048"]
        # With -t it would count the partition's offset, too, and make a volume that reaches beyond its partition.
        sectors = [*hidden, "-T", str(mebibytes * 2048), "-h", "64", "-s", "32"]
        run(["mformat", *at, "-F", *_LABELS, *sectors, "::"], image)
        run(["mmd", *at, "::/EFI", "::/EFI/BOOT", "::/models"], image)
        for source, name in entries:
            run(["mcopy", *at, str(source), f"::/{name}"], source)
        aside.replace(image)
    except OSError as error:
        raise FileError(str(image), f"cannot be written: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _absolute(path: AnyPath, name: str) -> Path:
    """A path that no tool takes for an option."""
    return Path(expanded(path, name)).absolute()


def _check_target(image: Path, entries: Iterable[Entry], n_bytes: int) -> None:
    if image.exists() and not image.is_file():
        kind = "a folder" if image.is_dir() else "a device"
        raise InvalidArgument(str(image), f"is {kind}; build a file and copy it there, for a stick: dd of=/dev/sdX")
    if not image.absolute().parent.is_dir():
        raise FileError(str(image), "cannot be written: its folder does not exist")
    for entry in entries:
        if image.exists() and image.samefile(entry.source):
            raise InvalidArgument(str(image), "is also a file that the image is made of; name another")
    free = shutil.disk_usage(image.absolute().parent).free
    if free < n_bytes:
        raise FileError(
            str(image), f"needs {n_bytes >> 20} MiB, and {free >> 20} MiB are free there; make room or name another"
        )


def extract(path: AnyPath, folder: AnyPath, names: Iterable[str] = ()) -> list[Path]:
    """Copy files of an image or a stick (default: all in its root folder) to a folder; returns their paths."""
    volume = find_volume(path)
    target = Path(expanded(folder, "folder"))
    target.mkdir(parents=True, exist_ok=True)
    wanted = list(names) or _names(volume)
    for name in wanted:
        to = str(target / Path(name).name)
        run(["mcopy", "-n", "-o", "-i", volume.for_mtools, f"::/{name}", to], f"{volume.image}: {name}")
    return [target / Path(name).name for name in wanted]


def _names(volume: Volume) -> list[str]:
    """Files in the root folder."""
    listing = run(["mdir", "-b", "-i", volume.for_mtools, "::/"], volume.image).splitlines()
    return [line.removeprefix("::/") for line in listing if line and not line.endswith("/")]


def check(path: AnyPath, repair: bool = False) -> list[str]:
    """Faults of the file system of an image or a stick, before `repair` where that is set; empty if it is intact."""
    volume = find_volume(path)
    if volume.used_bytes > volume.n_bytes:
        return [f"the file system has {volume.used_bytes} bytes, and its place {volume.n_bytes}; build the image again"]
    node = volume.node
    if node is not None:
        return _faults(node, volume, repair)
    with tempfile.TemporaryDirectory() as folder:  # fsck.fat takes no offset
        copy = Path(folder) / "volume"
        _copy_out(volume, copy)
        faults = _faults(copy, volume, repair)
        if repair and faults:
            _copy_back(copy, volume)
        return faults


def _faults(node: Path, volume: Volume, repair: bool) -> list[str]:
    done = ended(["fsck.fat", "-a" if repair else "-n", str(node)])
    faults = [line for line in done.stdout.splitlines()[1:] if line]
    if done.returncode not in (0, 1) or (done.returncode == 1 and not faults):  # its own failure is no verdict
        why = f"cannot be checked, fsck.fat ended with {done.returncode}: {done.stderr.strip()}"
        raise FileError(str(volume.image), why)
    return faults if done.returncode else []


def _copy_out(volume: Volume, copy: Path) -> None:
    with opened(volume.image) as image, opened(copy, "wb") as to:
        image.seek(volume.offset)
        for at in range(0, volume.n_bytes, _PIECE):
            piece = image.read(min(_PIECE, volume.n_bytes - at))
            if piece.count(0) < len(piece):  # the rest stays a hole
                to.seek(at)
                to.write(piece)
        to.truncate(volume.n_bytes)


def _copy_back(copy: Path, volume: Volume) -> None:
    with opened(copy) as repaired, opened(volume.image, "r+b") as image:
        for at in range(0, volume.n_bytes, _PIECE):
            image.seek(volume.offset + at)
            before = image.read(min(_PIECE, volume.n_bytes - at))
            if (after := repaired.read(len(before))) != before:
                image.seek(volume.offset + at)
                image.write(after)
