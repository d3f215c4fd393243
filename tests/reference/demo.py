"""The bundled model in every tensor type, made again from the one file in the repository.

Its Q8_0 matrices are dequantised to float32 and quantised anew; metadata are copied byte for byte (but for
general.file_type), so that anybody gets the same files without the weights it was trained with.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from . import gguf_file as gf
from .models import FILE_TYPES
from .quants import quantize

BUNDLED = Path(__file__).parents[2] / "python" / "flyball" / "data" / "flyball-demo.gguf"
N_VOCAB = 2048


def metadata_of(reader: gguf.GGUFReader) -> dict[str, gf.Value]:
    """A file's metadata as bytes, ready to be written into another file."""
    found = {}
    for name, entry in reader.fields.items():
        if name.startswith("GGUF."):  # the reader's own entries for the header
            continue
        _, key, kind, *value = entry.parts  # length of the key, key, type, then the value as it lies in the file
        raw = b"".join(part.tobytes() for part in value)
        found[key.tobytes().decode()] = gf.Value(int(kind[0]), raw)
    return found


def requantize(source: Path, path: Path, wtype: str) -> str:
    """Write `source` with every matrix in `wtype`; returns the new file's SHA-256."""
    reader = gguf.GGUFReader(source)
    metadata = metadata_of(reader)
    metadata["general.file_type"] = gf.u32(FILE_TYPES[wtype])
    tensors = []
    for tensor in reader.tensors:
        values = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        tensors.append(_tensor(tensor.name, values, wtype if values.ndim == 2 else "F32"))
    return gf.write_gguf(path, metadata, tensors)


def _tensor(name: str, values: npt.NDArray[np.float32], kind: str) -> gf.Tensor:
    return gf.Tensor(name, values.shape, kind, lambda: [quantize(values, kind).tobytes()])
