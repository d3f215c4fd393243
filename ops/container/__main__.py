"""`python -m ops.container lock` writes the image's locks anew; `sbom FILE` writes its bill of materials."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from flyball.errors import Error, InvalidArgument

from ..release import sbom
from . import lock

_BASE = re.compile(
    r"^FROM (?P<name>[\w/.-]+):(?P<version>[\w.-]+)@sha256:(?P<sha256>[0-9a-f]{64}) AS base$", re.MULTILINE
)


def bill(folder: Path = lock.FOLDER, project: Path = lock.PROJECT, time: int = 0) -> str:
    """The bill of materials of what the recipe makes, from recipe and locks alone; `time` in seconds since 1970."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    run, build = (
        lock.parts((folder / name).read_text(encoding="utf-8"), name, tool=name == "build.txt")
        for name in ("run.txt", "build.txt")
    )
    if (base := _BASE.search((folder / "Containerfile").read_text(encoding="utf-8"))) is None:
        raise InvalidArgument(
            "Containerfile", "has no base image with a digest; write FROM NAME:TAG@sha256:... AS base"
        )
    parts = [sbom.Part(base["name"], base["version"], "container", base["sha256"]), *run]
    parts += [part for part in build if part.name not in {each.name for each in run}]  # one component a name
    product = sbom.Part(
        lock.PRODUCT, about["version"], "application", license=about["license"], requires=tuple(p.name for p in parts)
    )
    text = sbom.document(product, parts, time)
    if fault := sbom.fault(text):
        raise InvalidArgument("bill of materials", f"is not valid: {fault}")
    return text


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m ops.container", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lock")
    commands.add_parser("sbom").add_argument("file", type=Path)
    args = parser.parse_args()
    try:
        if args.command == "lock":
            lock.write()
            return
        command = ["git", "-C", str(lock.FOLDER), "log", "-1", "--format=%ct"]
        time = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        args.file.parent.mkdir(parents=True, exist_ok=True)
        args.file.write_text(bill(time=time), encoding="utf-8")
    except Error as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
