"""Write the seeds for the GGUF fuzz target: small files of every kind that the reader knows.

    python tests/fuzz/make_corpus.py DIRECTORY

The kept corpus in tests/fuzz/corpus/gguf was grown from these and minimised with -merge=1.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
# type number -> (values in a block, bytes of a block)
TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136),
}  # fmt: skip

Key = tuple[str, bytes]
Tensor = tuple[str, tuple[int, ...], int]


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: float) -> bytes:
    return struct.pack("<I" + SCALARS[kind], kind, value)


def string(value: str | bytes) -> bytes:
    return struct.pack("<I", 8) + text(value)


def array(kind: int, *values: float) -> bytes:
    return struct.pack(f"<IIQ{len(values)}{SCALARS[kind]}", 9, kind, len(values), *values)


def strings(*values: str | bytes) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


def gguf(keys: list[Key], tensors: list[Tensor] | None = None, version: int = 3, alignment: int = 32) -> bytes:
    tensors = tensors or []
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for name, value in keys:
        out += text(name) + value
    offset, data = 0, b""
    for name, dims, kind in tensors:
        block, block_bytes = TENSOR_TYPES[kind]
        values = 1
        for dim in dims:
            values *= dim
        size = values // block * block_bytes
        out += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        offset += size + -size % alignment
        data += bytes(size) + bytes(-size % alignment)
    if tensors:
        out += bytes(-len(out) % alignment) + data
    return out


def split(first: bytes, second: bytes) -> bytes:
    return b"SPLT" + struct.pack("<I", len(first)) + first + second


def seeds() -> dict[str, bytes]:
    every_scalar = [(f"k.{kind}", scalar(kind, 1)) for kind in SCALARS]
    every_array = [(f"a.{kind}", array(kind, 0, 1)) for kind in SCALARS]
    model = [
        ("general.architecture", string("llama")),
        ("llama.block_count", scalar(4, 1)),
        ("llama.rope.freq_base", scalar(6, 10000.0)),
        ("tokenizer.ggml.tokens", strings("<s>", "</s>", "a", b"\xff\x00", "")),
        ("tokenizer.ggml.scores", array(6, 0.0, 0.0, -1.0, -2.0, -3.0)),
        ("tokenizer.ggml.token_type", array(5, 3, 3, 1, 6, 1)),
        ("tokenizer.ggml.add_bos_token", scalar(7, 1)),
    ]
    weights: list[Tensor] = [
        ("token_embd.weight", (32, 5), 8),
        ("blk.0.attn_q.weight", (32, 32), 2),
        ("output_norm.weight", (32,), 0),
    ]

    def part(
        number: int, count: int, tensors: list[Tensor], keys: list[Key] | None = None, alignment: int = 32
    ) -> bytes:
        own = [("general.alignment", scalar(4, alignment))] if alignment != 32 else []
        numbers = [
            ("split.no", scalar(2, number)),
            ("split.count", scalar(2, count)),
            ("split.tensors.count", scalar(5, 3)),
        ]
        return gguf((keys or []) + own + numbers, tensors, alignment=alignment)

    files = {
        "empty_v2": gguf([], version=2),
        "empty_v3": gguf([]),
        "scalars": gguf(every_scalar),
        "arrays": gguf(every_array),
        "strings": gguf([("s", string("text")), ("e", strings()), ("l", strings("", "a", "bcd"))]),
        "model": gguf(model, weights),
        "model_v2": gguf(model, weights, version=2),
        "aligned": gguf([("general.alignment", scalar(4, 64)), *model[:2]], weights, alignment=64),
        "ranks": gguf([], [("1", (4,), 0), ("2", (4, 2), 0), ("3", (2, 2, 2), 1), ("4", (1, 2, 1, 2), 30)]),
        "split": split(part(0, 2, weights[:2], model), part(1, 2, weights[2:])),
        "split_aligned": split(part(0, 2, weights[:1]), part(1, 2, weights[1:], alignment=8)),
        "first_part_alone": part(0, 2, weights[:2]),
        "second_part_alone": part(1, 2, weights[2:]),
        "merged": part(0, 0, weights),
        "many_keys": gguf([(f"key.{i}", scalar(0, i)) for i in range(40)]),
        "old_format": b"tjgg" + bytes(16),
        "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    }
    for kind, (block, _) in TENSOR_TYPES.items():
        files[f"type_{kind}"] = gguf([], [("w", (block, 2), kind), ("v", (2 * block,), kind)])
    return files


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in seeds().items():
        (directory / f"{name}.gguf").write_bytes(content)


if __name__ == "__main__":
    main()
