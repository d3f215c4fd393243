"""Volumes of sticks and partitioned images: found, read, checked and repaired."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball import image
from flyball.cli import main
from flyball.image import partitions, tools

pytestmark = pytest.mark.usefixtures("needs_tools")

MIB = 1 << 20


def fat(path: Path, offset: int = 0, mebibytes: int = 64) -> str:
    """Make a FAT volume in a file; returns its name for mtools."""
    at = f"{path}@@{offset}" if offset else str(path)
    tools.run(["mformat", "-i", at, "-F", "-T", str(mebibytes * 2048), "-h", "64", "-s", "32", "::"], path)
    return at


def damage(path: Path, offset: int) -> None:
    """Make the two copies of the file allocation table differ."""
    with path.open("r+b") as file:
        file.seek(offset)
        sector = file.read(512)
        (reserved,) = struct.unpack_from("<H", sector, 14)
        (sectors,) = struct.unpack_from("<I", sector, 36)
        file.seek(offset + (reserved + sectors) * 512 + 40)
        file.write(b"\xff\xff\xff\x0f")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    path = tmp_path / "stick.img"
    notes = tmp_path / "notes.txt"
    notes.write_text("kept")
    image.build(path, files=[notes], usb=True)
    return path


def test_a_stick_is_checked_and_repaired(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.check(stick) == []
    assert main(["image", "check", str(stick)]) == 0
    assert "  notes.txt" in capsys.readouterr().out
    damage(stick, MIB)
    before = stick.read_bytes()
    assert any("FATs differ" in fault for fault in image.check(stick))
    assert stick.read_bytes() == before  # only looked at
    assert main(["image", "check", str(stick)]) == 1
    assert main(["image", "check", str(stick), "--repair"]) == 0
    assert image.check(stick) == []
    assert partitions.find_volume(stick).used_bytes == partitions.find_volume(stick).n_bytes
    after = stick.read_bytes()
    assert after[:MIB] == before[:MIB]  # the partition table
    assert after[-MIB:] == before[-MIB:]


def test_the_partition_to_boot_from_is_found(tmp_path: Path) -> None:
    """Not the first, and at no round place; then one of an MBR; then what has none."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(210 * MIB)
    parts = [("2048:+64M", "0700"), ("0:+2M", "8300"), ("142336:+64M", "EF00")]
    words = [word for i, (place, kind) in enumerate(parts, 1) for word in ("-n", f"{i}:{place}", "-t", f"{i}:{kind}")]
    tools.run(["sgdisk", "-a", "1", *words, str(path)], path)
    fat(path, MIB)
    at = fat(path, 142336 * 512)
    tools.run(["mcopy", "-i", at, "/etc/hostname", "::/here.txt"], path)
    assert [file.name for file in image.extract(path, tmp_path / "out")] == ["here.txt"]
    assert image.check(path) == []

    mbr = tmp_path / "mbr.img"
    with mbr.open("wb") as file:
        file.truncate(80 * MIB)
        file.seek(446)
        file.write(b"\0\0\0\0\x0c\0\0\0" + struct.pack("<II", 4096, 64 * 2048) + bytes(48) + b"\x55\xaa")
    at = fat(mbr, 4096 * 512)
    tools.run(["mcopy", "-i", at, "/etc/hostname", "::/here.txt"], mbr)
    assert [file.name for file in image.extract(mbr, tmp_path / "out")] == ["here.txt"]
    assert image.check(mbr) == []

    nothing = tmp_path / "nothing.img"
    nothing.write_bytes(bytes(MIB))
    short = tmp_path / "short.img"
    short.write_bytes(b"x")
    for other in (nothing, short, flyball.demo_model_path()):
        for act in (image.check, lambda file: image.extract(file, tmp_path / "out")):
            with pytest.raises(flyball.FormatError, match="neither a FAT volume nor a partition with one"):
                act(other)
    for absent, why in ((tmp_path, "is a folder"), (tmp_path / "absent", "does not exist")):
        with pytest.raises(flyball.NotFound, match=why):
            image.check(absent)


def test_a_lying_partition_table_is_no_crash(stick: Path) -> None:
    good = stick.read_bytes()
    lies = ((512 + 72, b"\xff" * 8), (512 + 80, b"\xff" * 4), (512 + 84, bytes(4)), (1024 + 32, b"\xff" * 16))
    for at, value in lies:
        stick.write_bytes(good[:at] + value + good[at + len(value) :])
        try:
            assert image.check(stick) == []
        except flyball.Error as error:
            assert "FAT volume" in str(error)  # noqa: PT017


def test_a_volume_that_reaches_beyond_its_place_is_a_fault(stick: Path) -> None:
    os.truncate(stick, 40 * MIB)
    with pytest.raises(flyball.FormatError, match="no whole FAT volume in any partition"):
        image.check(stick)
    path = stick.with_name("cut.img")
    image.build(path)
    os.truncate(path, 40 * MIB)
    assert "build the image again" in image.check(path)[0]


@pytest.fixture
def device(stick: Path) -> Iterator[Path]:
    """The stick as a block device."""
    made = subprocess.run(["losetup", "-f", "--show", str(stick)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device can be had: {made.stderr.strip()}")
    name = made.stdout.strip()
    yield Path(name)
    subprocess.run(["losetup", "-d", name], check=True)


def test_a_block_device_is_read_as_its_image_is(stick: Path, device: Path, tmp_path: Path) -> None:
    assert partitions.find_volume(device)[1:] == partitions.find_volume(stick)[1:]
    left = image.extract(device, tmp_path / "out", ["notes.txt"])
    assert left[0].read_text() == "kept"
    assert image.check(device) == []
    with pytest.raises(flyball.InvalidArgument, match="is a device; build a file"):
        image.build(device)
    link = tmp_path / "link"
    link.symlink_to(device)
    assert image.check(link) == []


def test_a_block_device_has_no_size_of_its_own(stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As stat describes /dev/sdX: a block device of 0 bytes."""
    real = os.stat

    def as_device(path: Any, **how: Any) -> os.stat_result:
        found = real(path, **how)
        if isinstance(path, int) or os.fspath(path) != str(stick):
            return found
        fields = list(found)
        fields[0], fields[6] = stat.S_IFBLK | 0o660, 0
        return os.stat_result(fields)

    monkeypatch.setattr(os, "stat", as_device)
    assert stick.is_block_device()
    assert image.check(stick) == []
    assert [file.name for file in image.extract(stick, tmp_path / "out")] == ["notes.txt"]
    with pytest.raises(flyball.InvalidArgument, match="is a device; build a file"):
        image.build(stick)
    assert stick.is_block_device()
