"""`flyball models`: the model files of a folder, with size, type, name and a one-line summary."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .. import _core
from ..engine.model import demo_model_path
from ..files import cache_file
from . import common


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("models", help="list model files", description=__doc__, parents=[common.JSON])
    parser.add_argument(
        "folders", nargs="*", metavar="FOLDER", help="folders to search (default: $FLYBALL_MODELS, else . and ./models)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List the files, without folders also the bundled model; a model that cannot run is listed with the reason."""
    rows = _rows([Path(folder).expanduser() for folder in args.folders])
    if args.json:
        common.write_json(rows)
    elif rows:
        header = ("SIZE", "TYPE", "NAME", "FILE", "SUMMARY")
        cells = [
            [common.size(row["bytes"]), *(row[key] or "-" for key in ("type", "name", "file", "summary"))]
            for row in rows
        ]
        common.write_table([header, *([common.printable(cell) for cell in line] for line in cells)], right=[0])
    else:
        common.write("No model files (*.gguf) found; name the folders to search.\n")
    return common.SUCCESS


def _rows(folders: list[Path]) -> list[dict[str, Any]]:
    # Summaries by path, size and modification time, shared with flyball-repl.
    cache = os.fsencode(cache_file("models.json") or b"")
    rows = []
    if not folders:
        named = [Path(p).expanduser() for p in os.environ.get("FLYBALL_MODELS", "").split(os.pathsep) if p]
        folders = named or [folder for folder in (Path("."), Path("models")) if os.path.isdir(folder)]
        if os.path.isfile(demo_model_path()):
            rows.append(_core.catalog_summarize(os.fsencode(demo_model_path()), cache))
    for folder in folders:
        rows += _core.catalog_list(os.fsencode(folder), cache)
    by_path = {os.path.realpath(row["file"]): row | {"file": os.fsdecode(row["file"])} for row in rows}
    return list(by_path.values())
