"""Write GGUF version 3 byte for byte.

The `gguf` package could write these files, too, but goldens are keyed by the file's SHA-256: a new release of a
writer (another key order, another padding) must not invalidate them. So the writer is here, and the package is only
ever used for reading, which is also the independent check that the files are well formed.

Source: ggml's docs/gguf.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

ALIGNMENT = 32

# name -> (number in the file, elements per block, bytes per block)
TENSOR_TYPES: dict[str, tuple[int, int, int]] = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34),
    "Q2_K": (10, 256, 84),
    "Q3_K": (11, 256, 110),
    "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176),
    "Q6_K": (14, 256, 210),
    "IQ4_NL": (20, 32, 18),
    "IQ4_XS": (23, 256, 136),
    "BF16": (30, 1, 2),
    "MXFP4": (39, 32, 17),
    "NVFP4": (40, 64, 36),
    "Q1_0": (41, 128, 18),
    "Q2_0": (42, 64, 18),
    "TQ1_0": (34, 256, 54),
    "TQ2_0": (35, 256, 66),
    "IQ3_XXS": (18, 256, 98),
    "IQ3_S": (21, 256, 110),
    "IQ2_XXS": (16, 256, 66),
    "IQ2_XS": (17, 256, 74),
    "IQ2_S": (22, 256, 82),
    "IQ1_S": (19, 256, 50),
    "IQ1_M": (29, 256, 56),
}

_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


@dataclass(frozen=True)
class Value:
    """One metadata value, already in its file form: the type's number and the bytes after it."""

    kind: int
    raw: bytes


def u32(value: int) -> Value:
    return Value(_U32, struct.pack("<I", value))


def f32(value: float) -> Value:
    return Value(_F32, struct.pack("<f", value))


def boolean(value: bool) -> Value:
    return Value(_BOOL, struct.pack("<B", value))


def string(value: str) -> Value:
    return Value(_STRING, _text(value))


def strings(values: Sequence[str]) -> Value:
    return Value(_ARRAY, struct.pack("<IQ", _STRING, len(values)) + b"".join(map(_text, values)))


def f32s(values: Sequence[float]) -> Value:
    return Value(_ARRAY, struct.pack(f"<IQ{len(values)}f", _F32, len(values), *values))


def booleans(values: Sequence[bool]) -> Value:
    return Value(_ARRAY, struct.pack(f"<IQ{len(values)}B", _BOOL, len(values), *values))


def u32s(values: Sequence[int]) -> Value:
    return Value(_ARRAY, struct.pack(f"<IQ{len(values)}I", _U32, len(values), *values))


def i32s(values: Sequence[int]) -> Value:
    return Value(_ARRAY, struct.pack(f"<IQ{len(values)}i", _I32, len(values), *values))


@dataclass(frozen=True)
class Tensor:
    """A tensor to write; `chunks` is called when its turn comes, so that a large file never lies in memory.

    `shape` is in NumPy's order, rows first (the file stores it reversed: the contiguous dimension first).
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    chunks: Callable[[], Iterable[bytes]]

    @property
    def n_bytes(self) -> int:
        _, block, block_bytes = TENSOR_TYPES[self.kind]
        if self.shape[-1] % block:
            raise ValueError(f"{self.name}: rows of {self.shape[-1]} do not fit blocks of {block} ({self.kind})")
        return prod(self.shape) // block * block_bytes


def _padding(n_bytes: int) -> bytes:
    return bytes(-n_bytes % ALIGNMENT)


def write_gguf(
    path: Path,
    metadata: dict[str, Value],
    tensors: Sequence[Tensor],
    progress: Callable[[Tensor], None] = lambda tensor: None,
) -> str:
    """Write the file, tensors in the given order, and return its SHA-256 in hexadecimal."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key) + struct.pack("<I", value.kind) + value.raw
    offset = 0
    for tensor in tensors:
        dims = tensor.shape[::-1]
        head += _text(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        head += struct.pack("<IQ", TENSOR_TYPES[tensor.kind][0], offset)
        offset += tensor.n_bytes + len(_padding(tensor.n_bytes))
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(raw: bytes) -> None:
            digest.update(raw)
            file.write(raw)

        put(head + _padding(len(head)))
        for tensor in tensors:
            progress(tensor)
            written = 0
            for chunk in tensor.chunks():
                put(chunk)
                written += len(chunk)
            if written != tensor.n_bytes:
                raise ValueError(f"{tensor.name}: {written} bytes produced, {tensor.n_bytes} declared")
            put(_padding(written))
    return digest.hexdigest()
