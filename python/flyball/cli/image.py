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
    parser = commands.add_parser("image", help="boot images: build, run, extract, check", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    one = actions.add_parser("build", help="make a FAT32 image that boots")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--model", action="append", default=[], metavar="FILE", help="default: the bundled one")
    one.add_argument("--config", metavar="FILE", help="becomes flyball.toml")
    one.add_argument("--file", action="append", default=[], metavar="FILE", help="comes beside the program")
    one.add_argument("--usb", action="store_true", help="with a partition table, for a stick")
    one.set_defaults(run=build)

    one = actions.add_parser(
        "run", help="boot an image in QEMU", epilog="Exit codes: 0 all went well, 1 something did not, 2 could not run."
    )
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--script", metavar="FILE", help="lines for the REPL; without it the console is this terminal")
    one.add_argument("--cpu", default="max", metavar="NAME", help="max (AVX2), qemu64 (none) or another of QEMU's")
    one.add_argument("--smp", type=int, default=min(os.cpu_count() or 1, 4), metavar="N", help="processors")
    one.add_argument("--memory", type=int, default=2048, metavar="MIB", help="default: 2048")
    one.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="of a script; default: 120")
    one.add_argument("--serial", action="store_true", help="without a script: the raw serial line, which is faster")
    one.add_argument("--read-only", action="store_true", help="nothing can be written to the image")
    one.set_defaults(run=run)

    one = actions.add_parser(
        "test",
        help="preflight, build, run a script, extract, verify: all of it",
        epilog="Exit codes: 0 all steps hold, 1 one does not, 2 something is missing.",
        parents=[common.MODEL_FLAG],
    )
    one.add_argument("folder", metavar="FOLDER", help="gets the image, and what the run has left in out/")
    one.add_argument("--script", required=True, metavar="FILE", help="lines for the REPL")
    one.add_argument("--cpu", default="max", metavar="NAME", help="as in image run")
    one.set_defaults(run=test)

    one = actions.add_parser("native", help="run the program as a Linux process, with a folder as its volume")
    one.add_argument("folder", metavar="FOLDER", help="models/, flyball.toml and what the program leaves")
    one.add_argument("--script", metavar="FILE", required=True, help="lines for the REPL")
    one.add_argument("--smp", type=int, default=os.cpu_count() or 1, metavar="N", help="processors")
    one.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="default: 120")
    one.set_defaults(run=native)

    one = actions.add_parser("extract", help="copy files out of an image")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("folder", metavar="FOLDER")
    one.add_argument("name", nargs="*", metavar="NAME", help="default: all beside the program and its models")
    one.set_defaults(run=extract)

    one = actions.add_parser("check", help="the file system, and the hash of each file", epilog="Exit codes: 0 or 1.")
    one.add_argument("image", metavar="IMAGE")
    one.add_argument("--repair", action="store_true", help="mend the file system where it can be")
    one.set_defaults(run=check)


def build(args: argparse.Namespace) -> int:
    """Make an image."""
    image.build(args.image, args.model, args.config, args.file, usb=args.usb)
    common.write(f"{args.image}, {common.size(Path(args.image).stat().st_size)}\n")
    return common.SUCCESS


def run(args: argparse.Namespace) -> int:
    """Boot it."""
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
    """Each step with its result; the first that fails ends it."""
    from ..engine.model import demo_model_path
    from ..engine.verify import verify
    from ..journal.journal import check as check_journal

    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = Path(args.model) if args.model else demo_model_path()
    path, out = folder / "flyball.img", folder / "out"
    wanting = image.preflight(folder, model.stat().st_size if model.is_file() else 0)
    for what, why in wanting:
        common.write(f"preflight: {what} {why}\n")
    if wanting:
        return common.ERROR
    common.write("preflight: nothing is missing\n")
    image.build(path, [model])
    common.write(f"build: {path}\n")
    script = common.read_text(args.script).splitlines()
    ended = image.run(path, script, image.Machine(args.cpu, min(os.cpu_count() or 1, 4)))
    (folder / "output.txt").write_text(ended.output)
    common.write(f"run: {'well' if ended.well else ended.why}, {ended.seconds:.0f} s; {folder / 'output.txt'}\n")
    if not ended.well:
        return common.FAILURE
    left = image.extract(path, out)
    common.write(f"extract: {len(left)} files in {out}\n")
    faults = [f"file system: {fault}" for fault in image.check(path)]
    faults += [f"journal: {fault}" for fault in check_journal(out / "journal.jsonl", out / "log.txt").faults]
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
    """Run it here."""
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
    """Look at the file system and hash what is beside the program."""
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
