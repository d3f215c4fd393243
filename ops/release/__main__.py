"""Make a release of this checkout's HEAD; its verdict and what was made as JSON on standard output.

python -m ops.release FOLDER [--kept FOLDER]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .release import CHECKOUT, make

parser = argparse.ArgumentParser(prog="python -m ops.release", description=__doc__.splitlines()[0])
parser.add_argument("folder", type=Path, metavar="FOLDER", help="gets the bundle and log.txt; emptied before")
parser.add_argument("--kept", type=Path, default=CHECKOUT / "artifacts", metavar="FOLDER", help="may have changes")
args = parser.parse_args()
verdict, values = make(args.folder.resolve(), args.kept)
print(json.dumps({"verdict": verdict.as_dict(), "values": values}))
