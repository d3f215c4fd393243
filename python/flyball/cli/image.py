"""`flyball image`: make, run and read boot images for machines without an operating system."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

from .. import image
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
    one.set_defaults(run=run)

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
    return common.HOLDS


def run(args: argparse.Namespace) -> int:
    """Boot it."""
    machine = image.Machine(args.cpu, args.smp, args.memory)
    if args.script is None:
        return common.HOLDS if image.interact(args.image, machine) == 0 else common.FAILS
    script = common.read_text(args.script).splitlines()
    ended = image.run(args.image, script, machine, args.timeout, on_output=common.write)
    common.write("\n")
    if not ended.well:
        common.say_error(ended.why)
    return common.HOLDS if ended.well else common.FAILS


def native(args: argparse.Namespace) -> int:
    """Run it here."""
    ended = image.native(args.folder, common.read_text(args.script).splitlines(), args.smp, args.timeout)
    common.write(ended.output)
    if not ended.well:
        common.say_error(ended.why)
    return common.HOLDS if ended.well else common.FAILS


def extract(args: argparse.Namespace) -> int:
    """Copy files."""
    for path in image.extract(args.image, args.folder, args.name):
        common.write(f"{path}\n")
    return common.HOLDS


def check(args: argparse.Namespace) -> int:
    """Look at the file system and hash what is beside the program."""
    import tempfile

    faults = image.check(args.image, args.repair)
    for fault in faults:
        common.write(f"does not hold: {common.printable(fault)}\n")
    if args.repair:
        faults = image.check(args.image)
    with tempfile.TemporaryDirectory() as folder:
        for path in image.extract(args.image, folder):
            common.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return common.FAILS if faults else common.HOLDS
