"""Small LoRA adapters for the model files of `models.py`, as llama.cpp's converter writes them.

As there, the bytes depend on the recipe alone.

    python -m tests.reference.adapters VARIANT OUT.gguf [--rank N] [--alpha X] [--type TYPE] [--seed N]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import gguf_file as gf
from .models import F32, TYPES, bell, weights
from .quants import quantize
from .variants import VARIANTS, Shape

RANK, ALPHA = 8, 16.0
Wanted = Callable[[str], bool]


def adapter_weights(
    shape: Shape, seed: int, rank: int = RANK, wanted: Wanted = lambda name: True, gain: float = 0.5
) -> Iterable[tuple[str, F32]]:
    """A and B of every matrix of the model that is `wanted`, in the model's order; `gain` is B's."""
    for name, values in weights(shape, seed):
        if values.ndim < 2 or "conv1d" in name or not wanted(name):  # a convolution is no matrix of a product
            continue
        *depth, n_out, n_in = values.shape
        if name == "token_embd.weight":  # A is looked up by token: its rows are the tokens'
            yield f"{name}.lora_a", bell(f"{name}.lora_a", seed, (n_out, rank), 0.5)
            yield f"{name}.lora_b", bell(f"{name}.lora_b", seed, (n_in, rank), gain / math.sqrt(rank * n_in))
            continue
        yield f"{name}.lora_a", bell(f"{name}.lora_a", seed, (*depth, rank, n_in), 1 / math.sqrt(n_in))
        yield f"{name}.lora_b", bell(f"{name}.lora_b", seed, (*depth, n_out, rank), gain / math.sqrt(rank))


def tensor(name: str, values: F32, kind: str) -> gf.Tensor:
    """A tensor to write."""
    return gf.Tensor(name, values.shape, kind, lambda: [quantize(values, kind).tobytes()])


def write_adapter(
    path: Path | str,
    arch: str,
    wtype: str = "F32",
    *,
    seed: int = 2,
    rank: int = RANK,
    alpha: float | None = ALPHA,
    wanted: Wanted = lambda name: True,
    gain: float = 0.5,
    keys: Mapping[str, gf.Value | None] | None = None,
    more: Mapping[str, F32] | None = None,
    edit: Callable[[str, F32], F32 | None] = lambda name, values: values,
    **overrides: Any,
) -> Path:
    """Write an adapter of the variant `arch`.

    Matrices whose rows do not fill blocks of `wtype` are F16, as converters have it. `keys` replace and add metadata,
    None removes a key; `edit` replaces a tensor's values, None leaves it out; `more` are further tensors; `overrides`
    are those of the model.
    """
    shape = Shape(**{**vars(VARIANTS[arch]), **overrides})
    block = gf.TENSOR_TYPES[wtype][1]
    tensors = []
    for name, made in [*adapter_weights(shape, seed, rank, wanted, gain), *(more or {}).items()]:
        values = edit(name, made)
        if values is None:
            continue
        kind = wtype if values.shape[-1] % block == 0 else "F16"
        tensors.append(tensor(name, values, kind))
    metadata: dict[str, gf.Value | None] = {
        "general.type": gf.string("adapter"),
        "general.architecture": gf.string(shape.arch),
        "general.name": gf.string("flyball referee's adapter"),
        "adapter.type": gf.string("lora"),
        "adapter.lora.alpha": None if alpha is None else gf.f32(alpha),
        **(keys or {}),
    }
    gf.write_gguf(Path(path), {key: value for key, value in metadata.items() if value is not None}, tensors)
    return Path(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Write one adapter."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.adapters", description=main.__doc__)
    parser.add_argument("variant", choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--alpha", type=float, default=ALPHA)
    parser.add_argument("--type", choices=TYPES, default="F32")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args(argv)
    write_adapter(args.out, args.variant, args.type, seed=args.seed, rank=args.rank, alpha=args.alpha)


if __name__ == "__main__":
    main()
