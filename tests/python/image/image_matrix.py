"""Every architecture and type on bare metal: receipts made on the host verify there, and the reverse.

    python -m tests.python.image.image_matrix [--cpu max] [--cpu qemu64] [VARIANT-TYPE ...]

For a nightly run: QEMU loads each model, repeats the host's answer bit by bit, and makes one of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import flyball
from flyball import image
from tests.golden import checks
from tests.python.engine import exactness_matrix as matrix
from tests.reference.models import types_of
from tests.reference.variants import VARIANTS

CONFIG = 'tune = "off"\ncontext = 64\nmax_tokens = 6\nsampling.seed = 11\n'
PROMPT = "a b c"


def compare(folder: Path, names: list[str], cpu: str) -> list[str]:
    """What differs, a line each."""
    models, receipts = [], []
    for name in names:
        variant, wtype = name.rsplit("-", 1)
        models.append(matrix.write(folder, variant, wtype))
        with flyball.Model.load(models[-1], context=64) as model:
            receipts.append(model.generate(PROMPT, 6, seed=11).receipt.save(folder / f"{name}.json"))
    (folder / "flyball.toml").write_text(CONFIG)
    path = folder / "matrix.img"
    image.build(path, models, folder / "flyball.toml", receipts)
    script = ["/raw on"]
    for name in names:
        script += [f"/load models/{name}.gguf", "/raw on", f"/verify {name}.json", PROMPT, f"/receipt g-{name}.json"]
    ended = image.run(path, script, image.Machine(cpu=cpu, processors=2), timeout=60 + 20 * len(names))
    wrong = [] if ended.well else [f"{cpu}: {ended.why}: {ended.output[-400:]}"]
    made = {file.stem: file for file in image.extract(path, folder / "made")}
    for name, model_path in zip(names, models, strict=True):
        if (guest := made.get(f"g-{name}")) is None:
            wrong.append(f"{cpu} {name}: made no receipt")
            continue
        try:
            flyball.verify(guest, model=model_path)
        except flyball.Error as error:
            wrong.append(f"{cpu} {name}: {error}")
        model_path.unlink()
    path.unlink()
    return wrong


def main() -> int:
    """Print what differs; exit code 0 when nothing does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="*", metavar="VARIANT-TYPE", help="such as llama-Q4_K")
    parser.add_argument("--cpu", action="append", help="default: max and qemu64")
    parser.add_argument("--record", action="store_true", help="add what is equal to tests/golden/checks.json")
    args = parser.parse_args()
    names = args.only or [f"{variant}-{wtype}" for variant in VARIANTS for wtype in types_of(variant)]
    cpus = args.cpu or ["max", "qemu64"]
    wrong: list[str] = []
    for first in range(0, len(names), 30):
        part = names[first : first + 30]
        before = len(wrong)
        for cpu in cpus:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(Path(folder), part, cpu)
            print(f"{cpu:8} {part[0]} to {part[-1]}: {'EQUAL' if not found else 'DIFFERENT'}", flush=True)
            wrong += found
        if args.record and len(wrong) == before:  # on every processor; at once, as an interruption may follow
            checks.record("image", dict.fromkeys(part, len(cpus)))
    print(f"\n{len(names)} models, {len(wrong)} differences", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
