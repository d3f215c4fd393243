"""Where the FAT volume of an image or a stick lies: in a partition of a GPT or an MBR, or all of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import FileError, FormatError, NotFound
from ..paths import AnyPath, expanded

_BOOT_PARTITION = bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b")  # GPT's type of an EFI system partition
_MOST_ENTRIES = 128


class Volume(NamedTuple):
    """A FAT volume: where it lies in an image or a device, in bytes, and the bytes that its file system uses."""

    image: Path
    offset: int
    n_bytes: int
    used_bytes: int
    whole: bool

    @property
    def for_mtools(self) -> str:
        """Its name for the option -i of mtools."""
        return str(self.image) if self.whole else f"{self.image}@@{self.offset}"

    @property
    def node(self) -> Path | None:
        """A file or device that holds this volume alone, or None."""
        if self.whole:
            return self.image
        device = Path(os.path.realpath(self.image)).name
        for start in Path("/sys/class/block", device).glob(f"{device}*/start"):
            node = Path("/dev", start.parent.name)
            if int(start.read_text()) * 512 == self.offset and node.is_block_device():
                return node
        return None


def existing(path: AnyPath) -> Path:
    """The path of an image or a block device; raises NotFound if there is none."""
    image = Path(expanded(path))
    if image.is_dir():
        raise NotFound(str(image), "is a folder, must be an image or a block device")
    if not image.exists():
        raise NotFound(str(image), "does not exist; flyball image build makes one")
    if not (image.is_file() or image.is_block_device()):
        raise NotFound(str(image), "is neither a file nor a block device")
    return image


@contextmanager
def opened(image: Path, mode: str = "rb") -> Iterator[IO[bytes]]:
    """The open image; what the system refuses is a FileError."""
    try:
        with image.open(mode) as file:
            yield file
    except OSError as error:
        raise FileError(str(image), f"cannot be read or written: {error.strerror or error}") from None


def find_volume(path: AnyPath) -> Volume:
    """The volume to boot from: the first EFI system partition with FAT, else the first partition with FAT.

    Raises NotFound, FileError, or FormatError if there is no FAT volume.
    """
    image = existing(path)
    with opened(image) as file:
        n_bytes = file.seek(0, os.SEEK_END)  # also of a block device, whose stat says 0
        if used := _fat_bytes(file, 0):
            return Volume(image, 0, n_bytes, used, whole=True)
        places = _gpt(file, n_bytes) or _mbr(file)
        for offset, size in places:
            if offset + size <= n_bytes and (used := _fat_bytes(file, offset)):
                return Volume(image, offset, size, used, whole=False)
    held = "no whole FAT volume in any partition" if places else "neither a FAT volume nor a partition with one"
    raise FormatError(str(image), f"has {held}; flyball image build makes images")


def _read(file: IO[bytes], offset: int, n_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(n_bytes)


def _fat_bytes(file: IO[bytes], offset: int) -> int:
    """Bytes of the FAT file system that begins here; 0: none does."""
    sector = _read(file, offset, 512)
    if sector[510:] != b"\x55\xaa" or (sector[82:87] != b"FAT32" and sector[54:57] != b"FAT"):
        return 0
    (sector_bytes,), (small,), (large,) = (
        struct.unpack_from(form, sector, at) for form, at in (("<H", 11), ("<H", 19), ("<I", 32))
    )
    return int(sector_bytes * (small or large))


def _gpt(file: IO[bytes], n_bytes: int) -> list[tuple[int, int]]:
    """Offset and size of each partition, EFI system partitions first."""
    for sector in (512, 4096):
        header = _read(file, sector, 92)
        if header[:8] != b"EFI PART":
            continue
        table, n_entries, entry_bytes = struct.unpack_from("<QII", header, 72)
        if entry_bytes < 128 or table * sector >= n_bytes:
            return []
        found = []
        for i in range(min(n_entries, _MOST_ENTRIES)):
            entry = _read(file, table * sector + i * entry_bytes, 128)
            if len(entry) == 128 and any(entry[:16]):
                first, last = struct.unpack_from("<QQ", entry, 32)
                found.append((entry[:16] != _BOOT_PARTITION, first * sector, (last + 1 - first) * sector))
        return [(offset, size) for _, offset, size in sorted(found, key=lambda place: place[0])]
    return []


def _mbr(file: IO[bytes]) -> list[tuple[int, int]]:
    sector = _read(file, 0, 512)
    if sector[510:] != b"\x55\xaa":
        return []
    entries = (struct.unpack_from("<II", sector, 446 + 16 * i + 8) for i in range(4))
    return [(first * 512, count * 512) for first, count in entries if first and count]
