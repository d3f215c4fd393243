"""`flyball pull`: bring a GGUF model of the Hugging Face hub into the folder that `flyball serve` serves."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InvalidArgument
from ..hub import Reference, pull
from ..paths import expanded
from . import common
from .serve import models_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "pull", help="bring a model of the Hugging Face hub here", description=__doc__, parents=[common.JSON]
    )
    parser.add_argument(
        "reference", metavar="[hf.co/]ORG/REPO[:QUANT]", help="the repository, and its quantization (default: Q4_K_M)"
    )
    parser.add_argument(
        "--to", metavar="FOLDER", help="where to (default: serve.models, else flyball/models in the user's data folder)"
    )
    common.add_flags(parser, [])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Download and check the model."""
    reference = Reference.parse(args.reference)
    folder = Path(expanded(args.to)) if args.to else models_folder(common.read_settings(args))
    if folder is None:
        raise InvalidArgument("--to", "is needed: there is no home folder")
    progress = common.Progress()
    try:
        found = pull(reference, folder, progress)
    finally:
        progress.clear()
    if args.json:
        common.write_json({**vars(found), "path": str(found.path)})
        return common.SUCCESS
    size = common.size(found.n_bytes)
    what = f"{size} pulled and checked" if found.n_downloaded else f"{size} checked, was here already"
    common.write(f"{common.printable(str(found.path))}: {found.label}, {what}\n")
    return common.SUCCESS
