"""Packed copies of models in the cache folder: what is there, and whether it is whole."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import FileError

_HEADER = struct.Struct("<16sIIQ32s32s32s256s")  # cpp/engine/packed_copy.h, PackedHeader
_HEADER_BYTES = 4096
_MAGIC = b"flyball packed\n\0"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class PackedCopy:
    """A file of packed weights; `problem` says why it cannot be used."""

    path: Path
    n_bytes: int
    model: str
    fingerprint: str  # of the model's file
    checksum: str
    written: float  # seconds since 1970
    problem: str = ""

    def check(self) -> str:
        """Read all of it: why its bytes are not those of its checksum, or an empty text."""
        if self.problem:
            return self.problem
        try:
            return "" if _checksum(self.path) == self.checksum else "its bytes do not have its checksum"
        except OSError as error:
            return error.strerror or str(error)


def folder() -> Path | None:
    """The folder of packed copies; None for a user without a home."""
    return files.cache_file("packed/", make=False)


def packed_copies() -> list[PackedCopy]:
    """All in the cache folder, the oldest first: they make room for new ones in this order."""
    place = folder()
    found = [] if place is None else [_read(path) for path in place.glob("*.packed")]
    return sorted(found, key=lambda copy: copy.written)


def remove(copy: PackedCopy) -> None:
    """Delete its file; programs that have it mapped keep it until they end. Raises FileError."""
    try:
        copy.path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(str(copy.path), f"cannot be removed: {error.strerror}") from None


def _read(path: Path) -> PackedCopy:
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            raw = file.read(_HEADER.size)
    except OSError as error:
        return PackedCopy(path, 0, "", "", "", 0.0, error.strerror or str(error))
    if len(raw) < _HEADER.size or not raw.startswith(_MAGIC):
        return PackedCopy(path, about.st_size, "", "", "", about.st_mtime, "is no packed copy")
    _, _, _, n_bytes, _, fingerprint, checksum, model = _HEADER.unpack(raw)
    problem = "" if about.st_size == _HEADER_BYTES + n_bytes else "has another size than it says"
    name = model.split(b"\0", 1)[0].decode(errors="replace")
    return PackedCopy(path, about.st_size, name, fingerprint.hex(), checksum.hex(), about.st_mtime, problem)


def _checksum(path: Path) -> str:
    """SHA-256 over the SHA-256 of each MiB behind the header."""
    whole = hashlib.sha256()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for at in range(_HEADER_BYTES, len(mapped), _CHUNK):
            whole.update(hashlib.sha256(mapped[at : at + _CHUNK]).digest())
    return whole.hexdigest()
