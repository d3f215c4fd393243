"""Measure decoding and prefill with a LoRA adapter in turn with the same without one.

    .venv/bin/python -m bench.adapters MODEL.gguf [--rank 16] [--type F16] [--threads 2] [--gen 8] [--pairs 41]

The adapter has random weights and changes every matrix of every layer. A figure is the ratio of the medians (speed with
the adapter over speed without it), with the extremes of the pairs in brackets, and the ratio of the fastest runs, which
other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import flyball
from flyball.engine.options import GenerateKeywords
from tests.reference import gguf_file as gf
from tests.reference.adapters import tensor

from .peers import stats

N_PROMPT = 128


def matrices(model: flyball.Model) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The matrices of all layers: their names and shapes, rows first."""
    for name, _, shape, _ in model.tensors():
        if name.startswith("blk.") and name.endswith(".weight") and len(shape) >= 2:
            yield name, shape


def write_adapter(path: Path, model: flyball.Model, rank: int, kind: str) -> None:
    """An adapter of the given rank for all of them, of values small enough for any depth."""
    random = np.random.default_rng(1)
    tensors = []
    for name, (*depth, n_out, n_in) in matrices(model):
        for half, shape in (("a", (*depth, rank, n_in)), ("b", (*depth, n_out, rank))):
            values = random.standard_normal(shape, np.float32) / np.float32(10 * shape[-1] ** 0.5)
            tensors.append(tensor(f"{name}.lora_{half}", values.astype(np.float32), kind))
    metadata = {
        "general.type": gf.string("adapter"),
        "general.architecture": gf.string(model.info.architecture),
        "adapter.type": gf.string("lora"),
        "adapter.lora.alpha": gf.f32(rank),
    }
    gf.write_gguf(path, metadata, tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description="an adapter beside none")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--type", choices=("F32", "F16", "BF16"), default="F16")
    parser.add_argument("--threads", type=int, default=0, help="0: one per processor")
    parser.add_argument("--gen", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=41)
    args = parser.parse_args()
    model = flyball.Model.load(args.model, threads=args.threads, prefix_cache_mb=0, context=1024)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.gguf"
        write_adapter(path, model, args.rank, args.type)
        adapter = model.load_adapter(path)
    prompt = [(37 * i) % model.info.n_vocab for i in range(N_PROMPT)]
    sessions = {"without": model.session(), "with": model.session(adapter=adapter)}
    options: GenerateKeywords = {"speculate": "off", "ignore_eos": True, "temperature": 0}

    def prefill(name: str) -> float:
        sessions[name].reset()
        return sessions[name].generate(prompt, 1, **options).metrics.prefill.seconds

    def decode(name: str) -> float:  # short, and the prompt is cached: many pairs even out what else the machine does
        return sessions[name].generate(prompt, args.gen, **options).metrics.decode.seconds

    info = model.info
    print(
        f"{info.name} {info.quantization} on {info.isa}, {info.threads} threads; rank {args.rank} {args.type}, "
        f"{adapter.n_pairs} matrices, {adapter.weight_bytes / 1e6:.1f} MB beside {info.weight_bytes / 1e6:.1f} MB"
    )
    for measure, n_pairs in ((prefill, args.pairs // 4 + 1), (decode, args.pairs)):
        pairs = []
        for pair in range(n_pairs):
            order = ("without", "with") if pair % 2 == 0 else ("with", "without")
            found = {name: measure(name) for name in order}
            pairs.append((found["without"], found["with"]))
        cost = stats.ratio(pairs)
        what = f"prefill {N_PROMPT}" if measure is prefill else f"decode {args.gen}"
        fastest = min(without for without, _ in pairs) / min(with_ for _, with_ in pairs)
        print(
            f"{what}: {cost.median:.3f} x without ({cost.low:.3f} to {cost.high:.3f}), {n_pairs} pairs; "
            f"the fastest of each: {fastest:.3f} x"
        )


if __name__ == "__main__":
    main()
