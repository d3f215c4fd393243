"""The matrices of a GGUF file for training: the very weights that are served, dequantized to float32.

They stay quantized in the mapped file, and the matrices of the last layers that were used are kept as floats, as far as
they fit. So a model trains in little more memory than its activations take.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, Unsupported

_LAYER = re.compile(r"blk\.\d+\.")
_BLOCK = 4 << 20  # weights that are dequantized at once, so that no large matrix lies in memory whole


class Weights:
    """The tensors of one file. `keep_bytes`: of matrices that are kept as floats; it changes no result.

    `used` has the names of those that were asked for, `kept_bytes` says what is kept now.
    """

    def __init__(self, path: str, keep_bytes: int = 0) -> None:
        try:
            reader = gguf.GGUFReader(path)
        except (ValueError, KeyError) as error:  # a type that the package does not know
            raise Unsupported(path, f"cannot be read for training: {error}") from None
        self._tensors: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}
        self._path = path
        self.keep_bytes = keep_bytes
        self._kept: OrderedDict[str, list[Tensor]] = OrderedDict()
        self.kept_bytes = 0
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Rows first, as in y = W x."""
        return tuple(int(n) for n in reversed(self._tensor(name).shape))

    def float_bytes(self, prefix: str = "") -> int:
        """Of the tensors whose names begin so, as float32."""
        return sum(4 * int(tensor.n_elements) for name, tensor in self._tensors.items() if name.startswith(prefix))

    def layer_bytes(self) -> int:
        """Of the largest layer, as float32."""
        layers = {found[0] for name in self._tensors if (found := _LAYER.match(name))}
        return max(map(self.float_bytes, layers), default=0)

    def optional(self, name: str) -> Tensor | None:
        """A vector that not every file has."""
        return self.vector(name) if name in self else None

    def vector(self, name: str) -> Tensor:
        """A norm or a bias."""
        return self._floats(self._tensor(name), slice(None)).flatten()

    def rows(self, name: str, ids: Sequence[int]) -> Tensor:
        """Some rows of a matrix, (len(ids), columns)."""
        return self._floats(self._tensor(name), np.asarray(ids))

    def blocks(self, name: str) -> Iterator[Tensor]:
        """A matrix in blocks of rows: always the same ones, so that sums over them have one order."""
        if name in self._kept:
            self._kept.move_to_end(name)
        elif self._make_room(4 * math.prod(self.shape(name))):
            self._kept[name] = list(self._made(name))
            self.kept_bytes += _size(self._kept[name])
        yield from self._kept[name] if name in self._kept else self._made(name)

    def _made(self, name: str) -> Iterator[Tensor]:
        n_rows, n_columns = self.shape(name)
        step = max(1, _BLOCK // n_columns)
        for row in range(0, n_rows, step):
            yield self._floats(self._tensor(name), slice(row, row + step))

    def _make_room(self, n_bytes: int) -> bool:
        """Drop what was used longest ago; False: this is more than may be kept."""
        if n_bytes > self.keep_bytes:
            return False
        while self.kept_bytes + n_bytes > self.keep_bytes:
            _, dropped = self._kept.popitem(last=False)
            self.kept_bytes -= _size(dropped)
        return True

    def _tensor(self, name: str) -> Any:
        self.used.add(name)
        try:
            return self._tensors[name]
        except KeyError:
            raise FormatError(f"{self._path}: {name}", "is missing") from None

    def _floats(self, tensor: Any, part: Any) -> Tensor:
        """Copied into torch's memory, whose alignment does not depend on the moment: products have the same bits."""
        try:
            values = gguf.dequantize(tensor.data[part], tensor.tensor_type)
        except NotImplementedError:
            what = f"has the type {tensor.tensor_type.name}, which cannot be trained on"
            raise Unsupported(f"{self._path}: {tensor.name}", what) from None
        made = torch.empty(values.shape, dtype=torch.float32)
        made.numpy()[...] = values
        return made


def _size(blocks: Sequence[Tensor]) -> int:
    return sum(block.numel() * block.element_size() for block in blocks)
