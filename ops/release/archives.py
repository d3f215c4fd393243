"""Reproducible archives, checksums of files, and differences between two folders of archives."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

SUMS = "SHA256SUMS"


def sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(path: Path, folder: Path, time: int) -> None:
    """Make a .tar.gz of the folder's files, sorted by name, without owners, all with the same mode and time."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, file in _files(folder):
            member = tarfile.TarInfo(f"{folder.name}/{name}")
            member.size, member.mtime, member.mode = file.stat().st_size, time, 0o644
            with file.open("rb") as contents:
                tar.addfile(member, contents)


def write_sums(folder: Path) -> None:
    """Write a line for each file, in the format of `sha256sum -c`."""
    lines = [f"{sha256(file)}  {name}\n" for name, file in _files(folder) if name != SUMS]
    (folder / SUMS).write_text("".join(lines))


def check_sums(folder: Path) -> list[str]:
    """Faults of the checksums; empty if every file has a line and matches it."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except OSError as error:
        return [f"{SUMS} cannot be read: {error.strerror or error}"]
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    present = dict(_files(folder))
    present.pop(SUMS, None)
    faults = [f"{name} is missing" for name in listed if name not in present]
    faults += [f"{name} has no line in {SUMS}" for name in present if name not in listed]
    faults += [f"{name} has other bytes" for name, digest in listed.items() if _differs(present.get(name), digest)]
    return sorted(faults)


def differences(first: Path, second: Path) -> list[str]:
    """Differences between two folders of archives, by names of files and of archive members."""
    one, other = dict(_files(first)), dict(_files(second))
    found = [f"{name}, which only one build has" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        if sha256(one[name]) != sha256(other[name]):
            found += _member_differences(name, one[name], other[name])
    return found


def _member_differences(name: str, first: Path, second: Path) -> list[str]:
    one, other = _members(first), _members(second)
    changed = [member for member in sorted(one.keys() | other.keys()) if one.get(member) != other.get(member)]
    if changed:
        # A wheel's RECORD has the digests of the other members, so it is never the cause.
        causes = [member for member in changed if not member.endswith(".dist-info/RECORD")]
        return [f"{name}: {member}" for member in causes or changed]
    return [f"{name}: order, times or modes of its members" if one else name]


def _members(path: Path) -> dict[str, str]:
    """The digest of each member; empty if the file is not an archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            contents = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            return {name: hashlib.sha256(file.read()).hexdigest() for name, file in contents.items() if file}
    return {}


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names below the folder, in an order that does not depend on the locale."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    yield from sorted(files.items())


def _differs(file: Path | None, digest: str) -> bool:
    return file is not None and sha256(file) != digest
