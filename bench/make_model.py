"""Write a GGUF file of a real model's shape, with its real vocabulary and random weights, for measuring speed.

Speed depends on shapes and types, not on the values of weights, and a random file needs no download. Matrices consist
of random valid blocks, generated a few megabytes at a time; their scales give values a standard deviation of
1/sqrt(row length), so activations stay in a normal range. The mix of types is llama-quantize's (src/llama-quant.cpp).

    python -m bench.make_model SHAPE TYPE OUT.gguf --vocab ggml-vocab-llama-bpe.gguf [--seed N]
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from bench.shapes import SHAPES, Shape, layout, metadata_of_shape
from tests.reference import gguf_file as gf
from tests.reference.demo import metadata_of

U8 = npt.NDArray[np.uint8]
_CHUNK = 8 << 20  # elements at a time


# type -> (type of most matrices, type of the more sensitive ones, of experts, general.file_type)
TYPES = {
    "F16": ("F16", "F16", "F16", 1),
    "Q8_0": ("Q8_0", "Q8_0", "Q8_0", 7),
    "Q4_0": ("Q4_0", "Q6_K", "Q4_0", 2),
    "Q4_K_M": ("Q4_K", "Q6_K", "Q4_K", 15),
    "Q5_K_M": ("Q5_K", "Q6_K", "Q5_K", 17),
    "Q6_K": ("Q6_K", "Q6_K", "Q6_K", 18),
    "MXFP4": ("Q8_0", "Q8_0", "MXFP4", 38),
}
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # where rows are no multiple of 256


# ---------------------------------------------------------------- random blocks


@dataclass(frozen=True)
class Blocks:
    """The offsets of a block's float16 scales. `minimum`: the offset of dmin, which is `center` times d, so that values
    are centered on 0; where it is added, `center` is negative."""

    scale: int
    minimum: int | None = None
    center: float = 0.0


BLOCKS = {
    "Q4_0": Blocks(0),
    "Q5_0": Blocks(0),
    "Q5_1": Blocks(0, 2, -15.5),  # adds its minimum
    "Q8_0": Blocks(0),
    "Q4_K": Blocks(0, 2, 7.5),  # codes 0..15, equal scales and minima, which are subtracted
    "Q5_K": Blocks(0, 2, 15.5),
    "Q6_K": Blocks(208),
    "MXFP4": Blocks(0),
}
_MXFP4_DEVIATION = 5.85  # of the sixteen codes, each of the same weight


def _random_blocks(generator: np.random.PCG64, kind: str, count: int, d: float) -> U8:
    block_bytes = gf.TENSOR_TYPES[kind][2]
    raw = generator.random_raw((count * block_bytes + 7) // 8).view(np.uint8)[: count * block_bytes]
    blocks = raw.reshape(count, block_bytes)
    places = BLOCKS[kind]
    if kind == "Q8_0":  # no quantizer writes -128
        codes = blocks[:, 2:].view(np.int8)
        np.maximum(codes, -127, out=codes)
    if kind == "MXFP4":  # its scale is a power of two in one byte
        blocks[:, 0] = 128 + round(math.log2(d))
        return blocks
    for offset, value in ((places.scale, d), (places.minimum, d * places.center)):
        if offset is not None:
            blocks[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return blocks


def _unit_deviation(kind: str) -> float:
    """The measured standard deviation of random blocks with d = 1."""
    if kind == "MXFP4":
        return _MXFP4_DEVIATION
    sample = _random_blocks(np.random.PCG64(1), kind, 4096, 1.0)
    return float(gguf.dequantize(sample, gguf.GGMLQuantizationType[kind]).std())


def _matrix(name: str, rows: int, columns: int, kind: str, seed: int, n: int = 0) -> gf.Tensor:
    """`n`: of a tensor with so many matrices."""
    deviation = 1 / math.sqrt(columns)

    def chunks() -> Iterator[bytes]:
        key = hashlib.sha256(f"flyball bench/{seed}/{name}".encode()).digest()
        generator = np.random.PCG64(int.from_bytes(key[:16], "little"))
        step = max(1, _CHUNK // columns)
        block = gf.TENSOR_TYPES[kind][1]
        d = deviation / _unit_deviation(kind) if kind in BLOCKS else 0.0
        for row in range(0, max(n, 1) * rows, step):
            count = min(step, max(n, 1) * rows - row) * columns
            if kind in BLOCKS:
                yield _random_blocks(generator, kind, count // block, d).tobytes()
            else:  # F16: uniform, with the same deviation
                words = generator.random_raw((count + 3) // 4).view(np.int16)[:count]
                yield (words * np.float32(deviation * math.sqrt(3) / 32768)).astype("<f2").tobytes()

    return gf.Tensor(name, (n, rows, columns) if n else (rows, columns), kind, chunks)


def _vector(name: str, values: npt.NDArray[np.float32]) -> gf.Tensor:
    return gf.Tensor(name, values.shape, "F32", lambda: [values.astype("<f4").tobytes()])


# ---------------------------------------------------------------- the model


def _more_bits(index: int, count: int) -> bool:
    """The layers whose attn_v and ffn_down get a finer type from llama-quantize in Q4_K_M and Q5_K_M."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def tensors(shape: Shape, n_vocab: int, mix: str, seed: int) -> Iterator[gf.Tensor]:
    """All tensors in file order."""
    common, fine, expert, _ = TYPES[mix]
    if missing := {common, fine, expert} - gf.TENSOR_TYPES.keys():
        raise ValueError(f"{mix}: files of {', '.join(missing)} cannot be written")
    kinds = {"matrix": common, "fine": fine, "expert": expert}
    for tensor in layout(shape, n_vocab):
        if tensor.values is not None:
            yield _vector(tensor.name, tensor.values(seed))
            continue
        kind = kinds[tensor.role]
        if tensor.sensitive is not None and mix in ("Q4_K_M", "Q5_K_M") and _more_bits(tensor.sensitive, shape.n_layer):
            kind = fine
        *n, rows, columns = tensor.shape
        kind = kind if columns % gf.TENSOR_TYPES[kind][1] == 0 else _FALLBACK[kind]
        yield _matrix(tensor.name, rows, columns, kind, seed, n[0] if n else 0)


# Vocabulary files carry no template; this one needs no special tokens, so that `flyball chat` runs on any of them.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def write(path: Path, shape: Shape, mix: str, vocab: Path, seed: int, progress: Callable[[gf.Tensor], None]) -> str:
    """Write the file and return its SHA-256."""
    found = metadata_of(gguf.GGUFReader(vocab))
    tokenizer = {key: value for key, value in found.items() if key.startswith("tokenizer.")}
    n_vocab = int.from_bytes(tokenizer["tokenizer.ggml.tokens"].raw[4:12], "little")  # after the element type
    a = shape.arch
    metadata = {
        "general.architecture": gf.string(a),
        "general.name": gf.string(f"random weights in the shape of {shape.name}"),
        "general.file_type": gf.u32(TYPES[mix][3]),
        "general.quantization_version": gf.u32(2),
        f"{a}.vocab_size": gf.u32(n_vocab),
        **{f"{a}.{key}": value for key, value in metadata_of_shape(shape).items()},
        "tokenizer.chat_template": gf.string(CHAT_TEMPLATE),
        **tokenizer,
    }
    return gf.write_gguf(path, metadata, list(tensors(shape, n_vocab, mix, seed)), progress)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.make_model", description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("type", choices=TYPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocab", type=Path, required=True, help="GGUF file to copy the tokenizer from")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    start = time.monotonic()

    def progress(tensor: gf.Tensor) -> None:
        elapsed = time.monotonic() - start
        print(f"{elapsed:6.1f} s  {tensor.name:28} {tensor.kind:5} {tensor.n_bytes / 1e6:8.1f} MB", file=sys.stderr)

    digest = write(args.out, SHAPES[args.shape], args.type, args.vocab, args.seed, progress)
    print(digest, args.out)


if __name__ == "__main__":
    main()
