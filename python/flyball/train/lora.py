"""The weights that are trained: for each matrix of the layers a pair A (rank, columns) and B (rows, rank).

Rows are in the file's order, so an adapter needs no permutation to be served with the file it was trained on.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator

import gguf
import torch
from torch import Tensor

from ..errors import InvalidArgument
from .weights import Weights

_MATRICES = re.compile(r"blk\.\d+\.(?:attn_[qkv]|attn_output|ffn_(?:gate|up|down))\.weight")


class Lora:
    """Pairs by the name of their matrix. Embedding and output stay as they are.

    B begins with zeros, so a new adapter changes nothing; A is uniform in +-1/sqrt(columns), each from a generator of
    its own, so that it does not depend on the other matrices.
    """

    def __init__(self, weights: Weights, rank: int, alpha: float, seed: int) -> None:
        self.rank = rank
        self.alpha = alpha
        self.scale = alpha / rank
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}
        for name in weights:
            if _MATRICES.fullmatch(name):
                n_rows, n_columns = weights.shape(name)
                bound = 1 / math.sqrt(n_columns)
                a = torch.empty(rank, n_columns).uniform_(-bound, bound, generator=_generator(seed, name))
                self.pairs[name] = a.requires_grad_(), torch.zeros(n_rows, rank).requires_grad_()

    def take(self, path: str) -> None:
        """Begin with an adapter that was trained before. Raises InvalidArgument for one of another shape."""
        found = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        own = dict(self.tensors())
        if set(found) != set(own):
            raise InvalidArgument(path, "changes other matrices than training does, which has all of the layers")
        for name, tensor in own.items():
            values = gguf.dequantize(found[name].data, found[name].tensor_type)
            if values.shape != tuple(tensor.shape):
                what = f"has {name} of shape {values.shape}, the recipe {tuple(tensor.shape)}; give its rank"
                raise InvalidArgument(path, what)
            tensor.detach().numpy()[...] = values

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """By the names that they have in an adapter's file."""
        for name, (a, b) in self.pairs.items():
            yield f"{name}.lora_a", a
            yield f"{name}.lora_b", b

    def parameters(self) -> list[Tensor]:
        """All of them."""
        return [tensor for _, tensor in self.tensors()]

    def product(self, name: str, x: Tensor) -> Tensor | None:
        """What is added to the product of a matrix with x (..., columns); None for a matrix without a pair."""
        if name not in self.pairs:
            return None
        a, b = self.pairs[name]
        return torch.nn.functional.linear(torch.nn.functional.linear(x, a) * self.scale, b)


def _generator(seed: int, name: str) -> torch.Generator:
    drawn = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(drawn[:8], "little") >> 1)
