"""Boot images: a FAT volume with the program for UEFI and models, made by mtools, run in QEMU, read back.

The console of a run with a script is the first serial line: the program sees by the machine's debug port that a script
is there, and says by another whether all went well (docs/bare-metal.md).
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .errors import FileError, InvalidArgument, NotFound
from .model import demo_model_path

BOOT_PATH = "EFI/BOOT/BOOTX64.EFI"
_FIRMWARE = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")
_FIRMWARE_FOLDERS = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf", "/usr/share/qemu")
_ENDED_WELL = 33  # the debug-exit device: twice what the program wrote, and one
_LEAST_BYTES = 64 << 20
_LABELS = ("-v", "FLYBALL", "-N", "464c5942")  # with a serial number from the clock no two images would be the same
_PARTITION = "@@1M"  # where mtools find the volume of an image with a partition table
_MOST_FILE_BYTES = (4 << 30) - 1  # of FAT32
WENT_WRONG = "a command or a prompt of the script went wrong"
_PROMPT = re.compile(rb"(?:^|\n)(> |\.\.\. )$")
_ESCAPES = re.compile(rb"\x1b\[[0-9;=?]*[A-Za-z]")
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
    path = Path(__file__).parent / "data" / "flyball.efi"
    if not path.exists():
        raise NotFound(str(path), "was not built; `make efi` does, and needs clang-19 and lld-19")
    return path


def build(
    path: str | os.PathLike[str],
    models: Sequence[str | os.PathLike[str]] = (),
    config: str | os.PathLike[str] | None = None,
    files: Sequence[str | os.PathLike[str]] = (),
    program: str | os.PathLike[str] | None = None,
    usb: bool = False,
) -> None:
    """Make a FAT32 image that boots: models (default: the bundled one) in models/, `config` as flyball.toml.

    Room is left for a quarter more than there is. `files` come beside the program. `usb`: in a partition of a GPT, as
    sticks for real machines have it; QEMU takes either.
    """
    sources = [Path(model) for model in models] or [demo_model_path()]
    boot = Path(program) if program is not None else program_path()
    beside = [Path(file) for file in files]
    total = 0
    for file in [boot, *sources, *beside, *([Path(config)] if config is not None else [])]:
        if not file.is_file():
            raise NotFound(str(file), "is no file")
        size = file.stat().st_size
        if size > _MOST_FILE_BYTES:
            raise InvalidArgument(str(file), "has more than the 4 GiB that FAT32 holds in a file; split it")
        total += size
    mebibytes = max(_LEAST_BYTES, total + total // 4 + (16 << 20)) >> 20
    image = Path(path)
    aside = image.with_name(image.name + ".new")
    try:
        with aside.open("wb") as made:
            made.truncate((mebibytes + (2 if usb else 0)) << 20)
        at = ["-i", str(aside)]
        if usb:
            end = (1 + mebibytes) * 2048 - 1  # the last sector; the first MiB and the last are the table's
            _run(["sgdisk", "-n", f"1:2048:{end}", "-t", "1:EF00", "-c", "1:FLYBALL", str(aside)])
            at = ["-i", f"{aside}{_PARTITION}"]
        _run(["mformat", *at, "-F", *_LABELS, "-h", "64", "-t", str(mebibytes), "-s", "32", "::"])
        _run(["mmd", *at, "::/EFI", "::/EFI/BOOT", "::/models"])
        _run(["mcopy", *at, str(boot), f"::/{BOOT_PATH}"])
        for source in sources:
            _run(["mcopy", *at, str(source), f"::/models/{source.name}"])
        for file in beside:
            _run(["mcopy", *at, str(file), f"::/{file.name}"])
        if config is not None:
            _run(["mcopy", *at, str(config), "::/flyball.toml"])
        aside.replace(image)
    except OSError as error:
        raise FileError(str(image), f"cannot be written: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _volume(image: Path) -> str:
    """The image as mtools want it named."""
    with image.open("rb") as file:
        file.seek(512)
        return f"{image}{_PARTITION}" if file.read(8) == b"EFI PART" else str(image)


def extract(path: str | os.PathLike[str], folder: str | os.PathLike[str], names: Iterable[str] = ()) -> list[Path]:
    """Copy files of an image (default: all beside the program and its models) into a folder; gives their paths."""
    image = _existing(path)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    wanted = list(names) or _names(image)
    for name in wanted:
        _run(["mcopy", "-n", "-o", "-i", _volume(image), f"::/{name}", str(target / Path(name).name)])
    return [target / Path(name).name for name in wanted]


def _names(image: Path) -> list[str]:
    """Files in the root folder."""
    listing = _run(["mdir", "-b", "-i", _volume(image), "::/"]).splitlines()
    return [line.removeprefix("::/") for line in listing if line and not line.endswith("/")]


def check(path: str | os.PathLike[str], repair: bool = False) -> list[str]:
    """What is wrong with an image's file system, or was before it was repaired; empty: nothing."""
    image = _existing(path)
    if _volume(image) != str(image):
        raise InvalidArgument(str(image), "has a partition table; only images without one can be checked as a file")
    command = [_tool("fsck.fat"), "-a" if repair else "-n", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [line for line in done.stdout.splitlines()[1:] if line]


class Ended(NamedTuple):
    """How a run in QEMU ended: `well` only by the program's own word, with all lines of the script read."""

    well: bool
    why: str
    output: str
    seconds: float


@dataclass(frozen=True)
class Machine:
    """The machine that QEMU plays. `cpu`: max has AVX2, qemu64 has not. `read_only`: nothing can be written."""

    cpu: str = "max"
    processors: int = 1
    memory_mb: int = 2048
    read_only: bool = False

    def command(self, image: Path, scripted: bool) -> list[str]:
        """QEMU's command line. TCG by name: /dev/kvm may be there and not work."""
        code, variables = _firmware()
        command = [_tool("qemu-system-x86_64"), "-machine", "q35", "-accel", "tcg", "-cpu", self.cpu]
        command += [
            "-m",
            str(self.memory_mb),
            "-smp",
            str(self.processors),
            "-nodefaults",
            "-no-reboot",
            "-net",
            "none",
        ]
        command += ["-display", "none", "-monitor", "none", "-serial", "stdio"]
        command += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        command += ["-drive", f"if=pflash,format=raw,unit=1,snapshot=on,file={variables}"]
        command += ["-drive", f"file={image},format=raw,if=none,id=disk,readonly={'on' if self.read_only else 'off'}"]
        command += ["-device", "virtio-blk-pci,drive=disk,bootindex=0"]
        if scripted:
            command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-debugcon", "null"]
            command += ["-global", "isa-debugcon.iobase=0xe9"]
        return command


def run(
    path: str | os.PathLike[str],
    script: Iterable[str],
    machine: Machine | None = None,
    timeout: float = 120,
    on_output: Callable[[str], object] | None = None,
) -> Ended:
    """Boot an image and feed it the lines of a script, each when the program asks for one. `/quit` is added."""
    lines = [line.rstrip("\n") for line in script]
    if "/quit" not in lines:
        lines.append("/quit")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            (machine or Machine()).command(_existing(path), scripted=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            ended = _converse(process, lines, timeout, on_output)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if ended.why == "exit":
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            ended = _judge(ended, process.returncode, said)
        return ended


def _converse(
    process: subprocess.Popen[bytes], lines: list[str], timeout: float, on_output: Callable[[str], object] | None
) -> Ended:
    """Answer each prompt with the next line, until the program has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    start = time.monotonic()
    output = b""
    waiting = list(lines)

    def ended(why: str, well: bool = False) -> Ended:
        return Ended(well, why, _text(_ESCAPES.sub(b"", output)), time.monotonic() - start)

    while True:
        left = timeout - (time.monotonic() - start)
        if left <= 0:
            return ended(f"no end after {timeout:g} s, {len(waiting)} lines not read")
        if not select.select([process.stdout], [], [], min(left, 0.5))[0]:
            continue
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            return ended("exit", not waiting)
        output += piece
        if on_output:
            on_output(_text(_ESCAPES.sub(b"", piece)))
        if b"!!!!" in output[-4096:]:
            time.sleep(0.5)  # the rest of the firmware's screen
            output += os.read(process.stdout.fileno(), 65536)
            return ended("the firmware caught a fault: " + _text(output[output.index(b"!!!!") :])[:400])
        if waiting and _PROMPT.search(output[-16:]):
            process.stdin.write(waiting.pop(0).encode() + b"\n")
            process.stdin.flush()


def _judge(ended: Ended, status: int, said: str) -> Ended:
    if status == _ENDED_WELL and ended.well:
        return ended._replace(why="")
    if status == _ENDED_WELL:
        return ended._replace(well=False, why="the program ended before it had read the whole script")
    if status == _ENDED_WELL + 2:
        return ended._replace(well=False, why=WENT_WRONG)
    what = f"QEMU ended with {status}: a crash, or a machine that did not boot"
    return ended._replace(well=False, why=f"{what}; {said}" if said else what)


def native(
    folder: str | os.PathLike[str],
    script: Iterable[str],
    processors: int = 1,
    timeout: float = 120,
    program: str | os.PathLike[str] | None = None,
) -> Ended:
    """Run the boot image's program as a process of this system, with `folder` as its volume, and feed it a script.

    The very bytes that boot, at full speed: its output has the echo of what it was fed. Well: exit code 0.
    """
    if not Path(folder).is_dir():
        raise NotFound(str(folder), "is no folder")
    lines = "".join(line.rstrip("\n") + "\n" for line in script)
    command = [beside_python("flyball-native"), str(program or program_path()), str(folder), str(processors)]
    start = time.monotonic()
    try:
        done = subprocess.run(command, input=lines.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        return Ended(False, f"no end after {timeout:g} s", _text(error.stdout or b""), time.monotonic() - start)
    seconds = time.monotonic() - start
    if done.returncode < 0:
        return Ended(False, f"a fault: signal {-done.returncode}", _text(done.stdout), seconds)
    why = "" if done.returncode == 0 else "a command or a prompt went wrong " + _text(done.stderr).strip()
    return Ended(done.returncode == 0, why.strip(), _text(done.stdout), seconds)


def beside_python(program: str) -> str:
    """Path of a program of the package."""
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        raise NotFound(program, "is not beside this Python; it is built with the package")
    return found


class Wanting(NamedTuple):
    """What is missing, in the words of an error: cause, and what to do."""

    what: str
    why: str


def preflight(folder: str | os.PathLike[str], n_bytes: int = _LEAST_BYTES) -> list[Wanting]:
    """What building and running an image in `folder` would lack; empty: nothing."""
    wanting = []

    def needs(look: Callable[[], object]) -> None:
        try:
            look()
        except NotFound as error:
            wanting.append(Wanting(error.where, error.what))

    needs(program_path)
    for tool in _PACKAGES:
        if tool != "sgdisk":  # for sticks alone
            needs(partial(_tool, tool))
    needs(_firmware)
    free = shutil.disk_usage(folder).free
    if free < 2 * n_bytes:
        wanting.append(Wanting(str(folder), f"has {free >> 20} MiB free, {2 * n_bytes >> 20} are needed; make room"))
    return wanting


def interact(path: str | os.PathLike[str], machine: Machine | None = None, serial: bool = False) -> bool:
    """Boot an image with a console on this terminal, for people; says whether it ended well.

    The firmware's console, as a screen has it, or (`serial`) the raw first serial line, as scripts have it: faster,
    without history and editing.
    """
    command = (machine or Machine()).command(_existing(path), scripted=serial)
    return subprocess.run(command, check=False).returncode == (_ENDED_WELL if serial else 0)


def _text(output: bytes) -> str:
    return output.replace(b"\r\n", b"\n").replace(b"\r", b"").decode(errors="replace")


def _existing(path: str | os.PathLike[str]) -> Path:
    image = Path(path)
    if not image.is_file():
        raise NotFound(str(image), "does not exist; flyball image build makes one")
    return image


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NotFound(name, f"is not installed; it comes with the package {_PACKAGES[name]}")
    return found


def _firmware() -> tuple[Path, Path]:
    for folder in map(Path, _FIRMWARE_FOLDERS):
        code, variables = (folder / name for name in _FIRMWARE)
        if code.exists() and variables.exists():
            return code, variables
    raise NotFound(_FIRMWARE[0], "is not installed; the firmware for QEMU comes with the package ovmf")


def _run(command: list[str]) -> str:
    done = subprocess.run([_tool(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FileError(command[-1], f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
