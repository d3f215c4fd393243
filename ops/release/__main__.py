"""Make a release of this checkout's HEAD; prints its verdict and files as JSON.

python -m ops.release FOLDER [--kept FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .release import CHECKOUT, make

parser = argparse.ArgumentParser(prog="python -m ops.release", description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder for the bundle and log.txt; emptied first")
parser.add_argument(
    "--kept",
    type=Path,
    default=CHECKOUT / "artifacts",
    metavar="FOLDER",
    help="folder of the checkout that may have changes",
)
args = parser.parse_args()
verdict, values = make(args.folder.resolve(), args.kept)
print(json.dumps({"verdict": verdict.as_dict(), "values": values}))
