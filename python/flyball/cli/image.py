"""`flyball image`: make, run and read boot images for machines without an operating system."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from .. import image
from ..errors import VerificationError
from . import common


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("image", help="build, run, test and read boot images", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    one = actions.add_parser("build", help="make a FAT32 image that boots")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="FILE",
        help="model to include; may be repeated (default: the bundled one)",
    )
    one.add_argument("--config", metavar="FILE", help="configuration to include as flyball.toml")
    one.add_argument(
        "--file", action="append", default=[], metavar="FILE", help="file to put beside the program; may be repeated"
    )
    one.add_argument("--usb", action="store_true", help="add a partition table, for a USB stick")
    one.set_defaults(run=build)

    one = actions.add_parser("run", help="boot an image in QEMU", epilog="Exit codes: 0 success, 1 failure, 2 error.")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument(
        "--script", metavar="FILE", help="REPL commands to run (default: use this terminal as the console)"
    )
    one.add_argument(
        "--cpu",
        default="max",
        metavar="NAME",
        help="CPU model of QEMU: max (has AVX2), qemu64 (has not), ... (default: max)",
    )
    one.add_argument("--smp", type=int, default=min(os.cpu_count() or 1, 4), metavar="N", help="processors")
    one.add_argument("--memory", type=int, default=2048, metavar="MIB", help="memory of the machine (default: 2048)")
    one.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        help="time limit of a script, without waiting for a busy machine (default: 120)",
    )
    one.add_argument("--serial", action="store_true", help="without a script: use the raw serial line, which is faster")
    one.add_argument("--read-only", action="store_true", help="make the image read-only")
    one.set_defaults(run=run)

    one = actions.add_parser(
        "test",
        help="test an image in one go: preflight, build, run a script, extract, verify",
        epilog="Exit codes: 0 all steps passed, 1 one failed, 2 a tool is missing or another error.",
        parents=[common.MODEL_FLAG],
    )
    one.add_argument(
        "folder", metavar="FOLDER", help="folder for the image, and in out/ for the files that the run writes"
    )
    one.add_argument("--script", required=True, metavar="FILE", help="REPL commands to run")
    one.add_argument("--cpu", default="max", metavar="NAME", help="as in image run")
    one.add_argument("--memory", type=int, default=2048, metavar="MIB", help="as in image run (default: 2048)")
    one.set_defaults(run=test)

    one = actions.add_parser("native", help="run the program as a Linux process, with a folder as its volume")
    one.add_argument(
        "folder", metavar="FOLDER", help="folder with models/ and flyball.toml; the program writes its files there"
    )
    one.add_argument("--script", metavar="FILE", required=True, help="REPL commands to run")
    one.add_argument("--smp", type=int, default=os.cpu_count() or 1, metavar="N", help="processors")
    one.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="time limit (default: 120)")
    one.set_defaults(run=native)

    one = actions.add_parser("extract", help="copy files out of an image")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("folder", metavar="FOLDER")
    one.add_argument("name", nargs="*", metavar="NAME", help="files to copy (default: all in the image's root folder)")
    one.set_defaults(run=extract)

    one = actions.add_parser(
        "check", help="check the file system, and hash each file", epilog="Exit codes: 0 intact, 1 damaged."
    )
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--repair", action="store_true", help="repair the file system where possible")
    one.set_defaults(run=check)


def build(args: argparse.Namespace) -> int:
    """Make an image."""
    image.build(args.image, args.model, args.config, args.file, usb=args.usb)
    common.write(f"{args.image}, {common.size(Path(args.image).expanduser().stat().st_size)}\n")
    return common.SUCCESS


def run(args: argparse.Namespace) -> int:
    """Boot an image in QEMU."""
    machine = image.Machine(args.cpu, args.smp, args.memory, args.read_only)
    if args.script is None:
        return common.SUCCESS if image.interact(args.image, machine, args.serial) else common.FAILURE
    script = common.read_text(args.script).splitlines()
    ended = image.run(args.image, script, machine, args.timeout, on_output=common.write)
    common.write("\n")
    if not ended.well:
        common.say_error(ended.why)
    return common.SUCCESS if ended.well else common.FAILURE


def test(args: argparse.Namespace) -> int:
    """Run all steps and print each result; stop at the first failure."""
    from ..engine.model import demo_model_path
    from ..engine.verify import verify
    from ..journal.journal import check as check_journal

    folder = Path(args.folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    model = Path(args.model).expanduser() if args.model else demo_model_path()
    path, out = folder / "flyball.img", folder / "out"
    machine = image.Machine(args.cpu, min(os.cpu_count() or 1, 4), args.memory)
    wanting = image.preflight(folder, model=model, memory_mb=machine.memory_mb)
    for what, why in wanting:
        common.write(f"preflight: {what} {why}\n")
    if wanting:
        return common.ERROR
    common.write("preflight: all tools are present, and the model can be run\n")
    image.build(path, [model])
    common.write(f"build: {path}\n")
    script = common.read_text(args.script).splitlines()
    ended = image.run(path, script, machine)
    (folder / "output.txt").write_text(ended.output)
    common.write(f"run: {'passed' if ended.well else ended.why}, {ended.seconds:.0f} s; {folder / 'output.txt'}\n")
    if not ended.well:
        return common.FAILURE
    left = image.extract(path, out)
    common.write(f"extract: {len(left)} files in {out}\n")
    faults = [f"file system: {fault}" for fault in image.check(path)]
    told = check_journal(out / "journal.jsonl", out / "log.txt")
    faults += [f"journal: {fault}" for fault in (*told.faults, *told.doubts)]
    receipts = [file for file in left if file.suffix == ".json" and b'"logits_hashes"' in file.read_bytes()]
    for receipt in receipts:
        try:
            verify(receipt, model=model)
        except VerificationError as error:
            faults.append(f"{receipt.name}: {error}")
    for fault in faults:
        common.write(f"verify: mismatch: {common.printable(fault)}\n")
    if not faults:
        common.write(f"verify: file system, journal with its log, and {len(receipts)} receipts verified\n")
    return common.FAILURE if faults else common.SUCCESS


def native(args: argparse.Namespace) -> int:
    """Run the program as a Linux process."""
    ended = image.native(args.folder, common.read_text(args.script).splitlines(), args.smp, args.timeout)
    common.write(ended.output)
    if not ended.well:
        common.say_error(ended.why)
    return common.SUCCESS if ended.well else common.FAILURE


def extract(args: argparse.Namespace) -> int:
    """Copy files."""
    for path in image.extract(args.image, args.folder, args.name):
        common.write(f"{path}\n")
    return common.SUCCESS


def check(args: argparse.Namespace) -> int:
    """Check the file system and hash the files beside the program."""
    import tempfile

    faults = image.check(args.image, args.repair)
    for fault in faults:
        common.write(f"damaged: {common.printable(fault)}\n")
    if args.repair:
        faults = image.check(args.image)
    with tempfile.TemporaryDirectory() as folder:
        for path in image.extract(args.image, folder):
            common.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return common.FAILURE if faults else common.SUCCESS
