"""Flyball beside llama.cpp on the small random models of every architecture that llama.cpp's own test program writes.

    test-llama-archs -a '^qwen3$' -s SEED -o DIR/SEED      # a program of llama.cpp's tests; DIR/SEED must exist
    python -m tests.golden.generated DIR

Every *.gguf below DIR is given a small vocabulary and loses its rope factors and the head of a classifier, which are
random there and mean nothing; then both runtimes compute it with 32-bit caches. Prints a row per architecture: files,
largest normalized square error of the logits, positions where a router chose other experts, verdict; and the error with
the scales of products (NAME.scale), of which llama.cpp leaves some out in most architectures and applies others after a
bias, so that it is shown and not judged. Exit code 0: every file that Flyball runs agrees; 1: one does not; 2: nothing
was measured (llama-cpp-python is missing, or Flyball runs none of the files).
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

import flyball
from flyball import _core
from tests.reference import gguf_file as gf
from tests.reference import llama
from tests.reference.demo import metadata_of

N_TOKENS = 128
LIMIT = 1e-6  # of the error; what llama.cpp allows its own backends is 1e-4
FLIP = 1e-3  # error of one position, from which on rounding alone does not explain it
MOST_FLIPS = 0.1  # of all positions

UNUSED = {  # what llama.cpp loads and leaves out of its computation, without the layer
    "qwen2vl": ("output.bias",),
    "ernie4_5-moe": ("attn_output.bias",),
}


@dataclass(frozen=True)
class Measured:
    """One file: its normalized square error without the positions that a router moved, and how many these are."""

    error: float
    flips: int

    @property
    def agrees(self) -> bool:
        return self.error <= LIMIT and self.flips <= MOST_FLIPS * N_TOKENS  # a NaN does not


def vocabulary(n_vocab: int) -> dict[str, gf.Value]:
    """As many tokens of byte-level BPE as the model has: two control tokens, printable letters, numbered words."""
    letters = [chr(code) for code in range(0x21, 0x7F)]
    tokens = ["<|begin|>", "<|end|>", "th", *letters, *(f"word{i}" for i in range(n_vocab))][:n_vocab]
    return {
        "tokenizer.ggml.model": gf.string("gpt2"),
        "tokenizer.ggml.pre": gf.string("llama-bpe"),
        "tokenizer.ggml.tokens": gf.strings(tokens),
        "tokenizer.ggml.token_type": gf.i32s([3, 3, *[1] * (n_vocab - 2)]),
        "tokenizer.ggml.merges": gf.strings(["t h"]),
        "tokenizer.ggml.bos_token_id": gf.u32(0),
        "tokenizer.ggml.eos_token_id": gf.u32(1),
    }


def _copy(tensor: gguf.ReaderTensor) -> gf.Tensor:
    shape = tuple(int(n) for n in reversed(tensor.shape))
    return gf.Tensor(tensor.name, shape, tensor.tensor_type.name, lambda: [tensor.data.tobytes()])


def complete(source: Path, path: Path, scaled: bool) -> tuple[str, int, bool]:
    """Write `source` as a whole model; its architecture, vocabulary size, whether a router chooses among experts."""
    reader = gguf.GGUFReader(source)
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    n_vocab = int(embedding.shape[-1])
    metadata = {key: value for key, value in metadata_of(reader).items() if not key.startswith("tokenizer.")}
    arch = str(reader.fields["general.architecture"].contents())
    left_out = ("rope_freqs.", "rope_factors_", "cls.")
    unused = UNUSED.get(arch, ())
    tensors = [
        _copy(tensor)
        for tensor in reader.tensors
        if not tensor.name.startswith(left_out) and re.sub(r"^blk\.\d+\.", "", tensor.name) not in unused
        if scaled or not tensor.name.endswith(".scale")
    ]
    gf.write_gguf(path, metadata | vocabulary(n_vocab), tensors)
    counts = [reader.get_field(f"{arch}.expert_{name}count") for name in ("", "used_")]
    n_expert, n_used = (0 if field is None else np.max(field.contents()) for field in counts)
    return arch, n_vocab, bool(n_used < n_expert)


def measure(path: Path, n_vocab: int, routed: bool) -> Measured:
    """Both runtimes on one model, teacher forced."""
    ids = [int(raw) % n_vocab for raw in np.random.PCG64(1).random_raw(N_TOKENS)]
    theirs = llama.logits(path, ids, llama.EXACT).astype(np.float64)
    with flyball.Model.load(path, context=2 * N_TOKENS, cache_type="f32") as model:
        ours = model.logits(ids).astype(np.float64)

    def error(rows: npt.NDArray[np.bool_]) -> float:
        return float(((theirs[rows] - ours[rows]) ** 2).sum() / (theirs[rows] ** 2).sum())

    apart = ((theirs - ours) ** 2).sum(-1) > FLIP * (theirs**2).sum(-1)
    flipped = apart & routed
    return Measured(error(~flipped), int(flipped.sum())) if not flipped.all() else Measured(float("nan"), len(ids))


def judge(name: str, sources: Sequence[Path], folder: Path) -> bool | None:
    """Print the row of one architecture; None where Flyball does not run it."""
    plain: list[Measured] = []
    scaled: list[Measured] = []
    path = folder / "model.gguf"
    for source in sources:
        for found in (plain, scaled):
            arch, n_vocab, routed = complete(source, path, found is scaled)
            if arch not in _core.supported_architectures():
                print(f"{name:24} {len(sources):5}  Flyball does not run {arch}")
                return None
            try:
                found.append(measure(path, n_vocab, routed))
            except flyball.Unsupported as refusal:
                print(f"{name:24} {len(sources):5}  Flyball does not run it: {str(refusal).removeprefix(f'{path}: ')}")
                return None
            except flyball.Error as broken:
                print(f"{name:24} {len(sources):5}  FAIL {source}: {broken}")
                return False
    holds = all(one.agrees for one in plain)
    flips = sum(one.flips for one in plain)
    error, with_scales = (max(one.error for one in found) for found in (plain, scaled))
    verdict = "pass" if holds else "FAIL"
    print(f"{name:24} {len(plain):5} {error:9.1e} {flips:6}  {verdict} {with_scales:9.1e}", flush=True)
    return holds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.generated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    if importlib.util.find_spec("llama_cpp") is None:
        print(f"generated: inconclusive\n{llama.INSTALL}", file=sys.stderr)
        return 2
    files: dict[str, list[Path]] = {}
    for source in sorted(args.directory.rglob("*.gguf")):
        files.setdefault(source.stem, []).append(source)
    print(f"{llama.version()}; error at most {LIMIT:g}, positions of other experts at most {MOST_FLIPS:.0%}")
    print(f"{'model':24} {'files':>5} {'error':>9} {'flips':>6}  {'':4} {'scaled':>9}")
    with tempfile.TemporaryDirectory() as folder:
        verdicts = [judge(name, sources, Path(folder)) for name, sources in files.items()]
    run = [verdict for verdict in verdicts if verdict is not None]
    print(f"{sum(run)} of {len(run)} agree, {len(verdicts) - len(run)} not run")
    return 2 if not run else 0 if all(run) else 1


if __name__ == "__main__":
    sys.exit(main())
