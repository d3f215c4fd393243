"""Run boot images in QEMU, with a script or a console, or run their program as a Linux process.

A script's console is the first serial line. QEMU's debug port tells the program that a script is there, and the
debug-exit device returns the program's exit status (docs/bare-metal.md).
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import NotFound
from ..paths import AnyPath, expanded
from .partitions import existing
from .patience import Patience
from .tools import beside_python, firmware, program_path, tool

_ENDED_WELL = 33  # exit status by the debug-exit device: 2 * value + 1
WENT_WRONG = "a command or a prompt of the script failed"
_PROMPT = re.compile(rb"(?:^|\n)(> |\.\.\. )$")
_ESCAPES = re.compile(rb"\x1b\[[0-9;=?]*[A-Za-z]")


class Ended(NamedTuple):
    """How a run ended. `well`: the program reported success and had read the whole script."""

    well: bool
    why: str
    output: str
    seconds: float


@dataclass(frozen=True)
class Machine:
    """The machine to emulate. `cpu`: max has AVX2, qemu64 has not. `read_only`: the disk rejects writes."""

    cpu: str = "max"
    processors: int = 1
    memory_mb: int = 2048
    read_only: bool = False

    def command(self, image: Path, scripted: bool) -> list[str]:
        """QEMU's command line. It asks for TCG, as /dev/kvm may exist and not work."""
        code, variables = firmware()
        command = [tool("qemu-system-x86_64"), "-machine", "q35", "-accel", "tcg", "-cpu", self.cpu]
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
    path: AnyPath,
    script: Iterable[str],
    machine: Machine | None = None,
    timeout: float = 120,
    on_output: Callable[[str], object] | None = None,
) -> Ended:
    """Boot an image and send the lines of a script, one per prompt of the program; `/quit` is appended.

    `timeout` is in seconds; waiting for a processor of a busy machine does not count.
    """
    lines = [line.rstrip("\n") for line in script]
    if "/quit" not in lines:
        lines.append("/quit")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            (machine or Machine()).command(existing(path), scripted=True),
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
    """Answer each prompt with the next line until the program ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    patience = Patience(process.pid, timeout)
    output = b""
    waiting = list(lines)

    def ended(why: str, well: bool = False) -> Ended:
        return Ended(well, why, _text(_ESCAPES.sub(b"", output)), patience.elapsed())

    while True:
        left = patience.left()
        if left <= 0:
            return ended(f"timeout after {timeout:g} s, {len(waiting)} lines not read")
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
            return ended("the firmware reported a fault: " + _text(output[output.index(b"!!!!") :])[:400])
        if waiting and _PROMPT.search(output[-16:]):
            process.stdin.write(waiting.pop(0).encode() + b"\n")
            process.stdin.flush()


def _judge(ended: Ended, status: int, said: str) -> Ended:
    if status == _ENDED_WELL and ended.well:
        return ended._replace(why="")
    if status == _ENDED_WELL:
        return ended._replace(well=False, why="the program ended before the end of the script")
    if status == _ENDED_WELL + 2:
        return ended._replace(well=False, why=WENT_WRONG)
    what = f"QEMU ended with {status}: a crash, or a machine that did not boot"
    return ended._replace(well=False, why=f"{what}; {said}" if said else what)


def native(
    folder: AnyPath,
    script: Iterable[str],
    processors: int = 1,
    timeout: float = 120,
    program: AnyPath | None = None,
) -> Ended:
    """Run a script in the boot image's program as a Linux process, with `folder` as its volume.

    It is the same binary that boots, at native speed; its output includes the echoed script. `timeout` as for `run`.
    """
    volume = expanded(folder, "folder")
    if not Path(volume).is_dir():
        raise NotFound(volume, "is not a folder")
    lines = "".join(line.rstrip("\n") + "\n" for line in script)
    boot = expanded(program, "program") if program else str(program_path())
    command = [beside_python("flyball-native"), boot, volume, str(processors)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        patience = Patience(process.pid, timeout)
        said: bytes | None = lines.encode()
        while True:
            try:
                output, errors = process.communicate(said, timeout=max(0.0, min(patience.left(), 0.5)))
                break
            except subprocess.TimeoutExpired as error:
                said = None
                if patience.left() <= 0:
                    process.kill()
                    return Ended(False, f"timeout after {timeout:g} s", _text(error.stdout or b""), patience.elapsed())
    if process.returncode < 0:
        return Ended(False, f"killed by signal {-process.returncode}", _text(output), patience.elapsed())
    why = "" if process.returncode == 0 else "a command or a prompt failed " + _text(errors).strip()
    return Ended(process.returncode == 0, why.strip(), _text(output), patience.elapsed())


def interact(path: AnyPath, machine: Machine | None = None, serial: bool = False) -> bool:
    """Boot an image with a console on this terminal; returns whether it ended well.

    The console is the firmware's, or with `serial` the raw first serial line that scripts use: faster, but without
    history and editing.
    """
    command = (machine or Machine()).command(existing(path), scripted=serial)
    return subprocess.run(command, check=False).returncode == (_ENDED_WELL if serial else 0)


def _text(output: bytes) -> str:
    return output.replace(b"\r\n", b"\n").replace(b"\r", b"").decode(errors="replace")
