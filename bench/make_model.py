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

from tests.reference import gguf_file as gf
from tests.reference.demo import metadata_of

U8 = npt.NDArray[np.uint8]
_CHUNK = 8 << 20  # elements at a time


@dataclass(frozen=True)
class Shape:
    name: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_ctx: int
    rope_base: float
    rms_eps: float = 1e-5
    head_dim: int = 64
    rope_factor: float = 0.0  # Llama 3's scaling of slow pairs, 0: none
    arch: str = "llama"
    n_expert: int = 0  # of width n_ff each; 0: a dense feed-forward
    n_expert_used: int = 0


SHAPES = {
    "llama-1b": Shape("Llama 3.2 1B", 16, 2048, 8192, 32, 8, 131072, 500000.0, rope_factor=32.0),
    # Twelve of the 48 layers of a Qwen3 30B-A3B: as wide, and small enough for memory.
    "qwen3-a3b-8b": Shape(
        "a quarter of Qwen3 30B-A3B",
        12,
        2048,
        768,
        32,
        4,
        32768,
        1000000.0,
        1e-6,
        128,
        arch="qwen3moe",
        n_expert=128,
        n_expert_used=8,
    ),
    "smollm-135m": Shape("SmolLM2 135M", 30, 576, 1536, 9, 3, 8192, 100000.0),
}
# type -> (type of most matrices, type of the more sensitive ones, general.file_type)
TYPES = {
    "F16": ("F16", "F16", 1),
    "Q8_0": ("Q8_0", "Q8_0", 7),
    "Q4_0": ("Q4_0", "Q6_K", 2),
    "Q4_K_M": ("Q4_K", "Q6_K", 15),
}
_FALLBACK = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}  # where rows are no multiple of 256


# ---------------------------------------------------------------- random blocks


@dataclass(frozen=True)
class Blocks:
    """The offsets of a block's float16 scales. `minimum`: the offset of dmin, which is `center` times d, so that values
    are centered on 0."""

    scale: int
    minimum: int | None = None
    center: float = 0.0


BLOCKS = {
    "Q4_0": Blocks(0),
    "Q5_0": Blocks(0),
    "Q8_0": Blocks(0),
    "Q4_K": Blocks(0, 2, 7.5),  # codes 0..15, equal scales and minima
    "Q6_K": Blocks(208),
}


def _random_blocks(generator: np.random.PCG64, kind: str, count: int, d: float) -> U8:
    block_bytes = gf.TENSOR_TYPES[kind][2]
    raw = generator.random_raw((count * block_bytes + 7) // 8).view(np.uint8)[: count * block_bytes]
    blocks = raw.reshape(count, block_bytes)
    layout = BLOCKS[kind]
    if kind == "Q8_0":  # no quantizer writes -128
        codes = blocks[:, 2:].view(np.int8)
        np.maximum(codes, -127, out=codes)
    for offset, value in ((layout.scale, d), (layout.minimum, d * layout.center)):
        if offset is not None:
            blocks[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
    return blocks


def _unit_deviation(kind: str) -> float:
    """The measured standard deviation of random blocks with d = 1."""
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
    """The layers whose attn_v and ffn_down get a finer type from llama-quantize in Q4_K_M."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _rope_factors(shape: Shape) -> npt.NDArray[np.float32]:
    """Llama 3's divisors: 1 for wavelengths below 2048, the factor above 8192, smooth between."""
    factors = []
    for pair in range(shape.head_dim // 2):
        wavelength = 2 * math.pi * shape.rope_base ** (2 * pair / shape.head_dim)
        smooth = min(1.0, max(0.0, (8192 / wavelength - 1) / (4 - 1)))
        factors.append(1 / ((1 - smooth) / shape.rope_factor + smooth))
    return np.array(factors, np.float32)


def tensors(shape: Shape, n_vocab: int, mix: str, seed: int) -> Iterator[gf.Tensor]:
    """All tensors in file order; the embedding is tied, hence of the output's type."""
    common, fine, _ = TYPES[mix]

    def matrix(name: str, rows: int, columns: int, kind: str = common, n: int = 0) -> gf.Tensor:
        block = gf.TENSOR_TYPES[kind][1]
        return _matrix(f"{name}.weight", rows, columns, kind if columns % block == 0 else _FALLBACK[kind], seed, n)

    def norm(name: str, n: int = shape.n_embd) -> gf.Tensor:
        return _vector(f"{name}.weight", np.ones(n, np.float32))

    n_q, n_kv = shape.n_head * shape.head_dim, shape.n_head_kv * shape.head_dim
    yield matrix("token_embd", n_vocab, shape.n_embd, fine)
    yield norm("output_norm")
    if shape.rope_factor:
        yield _vector("rope_freqs.weight", _rope_factors(shape))
    for layer in range(shape.n_layer):
        blk = f"blk.{layer}."
        sensitive = fine if mix == "Q4_K_M" and _more_bits(layer, shape.n_layer) else common
        yield norm(blk + "attn_norm")
        yield matrix(blk + "attn_q", n_q, shape.n_embd)
        yield matrix(blk + "attn_k", n_kv, shape.n_embd)
        yield matrix(blk + "attn_v", n_kv, shape.n_embd, sensitive)
        yield matrix(blk + "attn_output", shape.n_embd, n_q)
        if shape.arch == "qwen3moe":
            yield norm(blk + "attn_q_norm", shape.head_dim)
            yield norm(blk + "attn_k_norm", shape.head_dim)
        yield norm(blk + "ffn_norm")
        experts = "_exps" if shape.n_expert else ""
        if experts:
            router = np.random.default_rng([seed, layer]).standard_normal((shape.n_expert, shape.n_embd), np.float32)
            yield _vector(blk + "ffn_gate_inp.weight", router / np.float32(math.sqrt(shape.n_embd)))
        yield matrix(blk + "ffn_gate" + experts, shape.n_ff, shape.n_embd, n=shape.n_expert)
        yield matrix(blk + "ffn_up" + experts, shape.n_ff, shape.n_embd, n=shape.n_expert)
        yield matrix(blk + "ffn_down" + experts, shape.n_embd, shape.n_ff, sensitive, shape.n_expert)


# Vocabulary files carry no template; this one needs no special tokens, so that `flyball chat` runs on any of them.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def _expert_keys(shape: Shape) -> dict[str, int]:
    if not shape.n_expert:
        return {}
    return {
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "expert_count": shape.n_expert,
        "expert_used_count": shape.n_expert_used,
        "expert_feed_forward_length": shape.n_ff,
    }


def write(path: Path, shape: Shape, mix: str, vocab: Path, seed: int, progress: Callable[[gf.Tensor], None]) -> str:
    """Write the file and return its SHA-256."""
    found = metadata_of(gguf.GGUFReader(vocab))
    tokenizer = {key: value for key, value in found.items() if key.startswith("tokenizer.")}
    n_vocab = int.from_bytes(tokenizer["tokenizer.ggml.tokens"].raw[4:12], "little")  # after the element type
    a = shape.arch
    metadata = {
        "general.architecture": gf.string(a),
        "general.name": gf.string(f"random weights in the shape of {shape.name}"),
        "general.file_type": gf.u32(TYPES[mix][2]),
        "general.quantization_version": gf.u32(2),
        f"{a}.context_length": gf.u32(shape.n_ctx),
        f"{a}.embedding_length": gf.u32(shape.n_embd),
        f"{a}.block_count": gf.u32(shape.n_layer),
        f"{a}.feed_forward_length": gf.u32(shape.n_ff),
        f"{a}.attention.head_count": gf.u32(shape.n_head),
        f"{a}.attention.head_count_kv": gf.u32(shape.n_head_kv),
        f"{a}.attention.layer_norm_rms_epsilon": gf.f32(shape.rms_eps),
        f"{a}.rope.dimension_count": gf.u32(shape.head_dim),
        f"{a}.rope.freq_base": gf.f32(shape.rope_base),
        f"{a}.vocab_size": gf.u32(n_vocab),
        **{f"{a}.{key}": gf.u32(value) for key, value in _expert_keys(shape).items()},
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
