"""The forward pass in torch, over the weights of a GGUF file, with gradients for the adapter alone.

Activations are float32 and not quantized, so the logits differ from the served ones by what quantizing them costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..errors import Unsupported
from .architecture import Architecture, Rope
from .lora import Lora
from .weights import Weights


class _Product(torch.autograd.Function):
    """x W^T of a matrix that is not trained: neither pass keeps its floats."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Weights, name: str) -> Tensor:
        ctx.weights, ctx.name = weights, name
        return torch.cat([F.linear(x, block) for block in weights.blocks(name)], dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        total, row = None, 0
        for block in ctx.weights.blocks(ctx.name):
            part = grad[..., row : row + len(block)] @ block
            total = part if total is None else total + part
            row += len(block)
        assert total is not None
        return total, None, None


_product: Callable[[Tensor, Weights, str], Tensor] = _Product.apply


class Decoder:
    """A model file's decoder. `recompute`: activations inside a layer are computed again for the gradient."""

    def __init__(self, weights: Weights, architecture: Architecture, recompute: bool) -> None:
        self.weights = weights
        self.architecture = architecture
        self._recompute = recompute
        self._vectors: dict[str, Tensor] = {}

    def check_complete(self) -> None:
        """Compute one token. Raises Unsupported for a file with tensors that this pass does not use."""
        with torch.no_grad():
            self.logits(self.hidden(torch.zeros(1, 1, dtype=torch.int64), None))
        unused = sorted(set(self.weights) - self.weights.used)
        if unused:
            raise Unsupported(unused[0], f"is a tensor that training does not know, one of {len(unused)}")

    def hidden(self, ids: Tensor, lora: Lora | None) -> Tensor:
        """States (batch, token, n_embd) after the last norm, of ids (batch, token); `lora` None: the base's.

        Shorter rows are padded at their end: a token sees those before it alone, so padding changes none of a row's
        states.
        """
        arch = self.architecture
        n_tokens = ids.shape[1]
        embedded = self.weights.rows("token_embd.weight", ids.flatten().tolist())
        x = embedded.view(*ids.shape, -1) * arch.embedding_scale
        tables = {rope: rope.table(n_tokens) for rope in (arch.rope, arch.rope_sliding)}
        seen = _masks(n_tokens, arch.window)
        for layer in range(arch.n_layer):
            slides = arch.slides[layer]
            rope = arch.rope_sliding if slides else arch.rope
            if self._recompute and torch.is_grad_enabled():
                x = checkpoint(self._layer, layer, x, rope, tables[rope], seen[slides], lora, use_reentrant=False)
            else:
                x = self._layer(layer, x, rope, tables[rope], seen[slides], lora)
        return self._norm("output_norm", x)

    def logits(self, states: Tensor) -> Tensor:
        """(..., n_vocab) of states (..., n_embd)."""
        name = "output.weight" if "output.weight" in self.weights else "token_embd.weight"
        return _capped(_product(states, self.weights, name), self.architecture.final_cap)

    def _layer(
        self, layer: int, x: Tensor, rope: Rope, table: tuple[Tensor, Tensor], seen: Tensor, lora: Lora | None
    ) -> Tensor:
        blk = f"blk.{layer}."
        y = self._attention(blk, self._norm(blk + "attn_norm", x), rope, table, seen, lora)
        x = x + self._norm(blk + "post_attention_norm", y)
        h = self._norm(blk + "ffn_norm", x)
        gate, up = (self._linear(blk + name, h, lora) for name in ("ffn_gate", "ffn_up"))
        gate = F.gelu(gate, approximate="tanh") if self.architecture.gelu else F.silu(gate)
        return x + self._norm(blk + "post_ffw_norm", self._linear(blk + "ffn_down", gate * up, lora))

    def _attention(
        self, blk: str, x: Tensor, rope: Rope, table: tuple[Tensor, Tensor], seen: Tensor, lora: Lora | None
    ) -> Tensor:
        arch = self.architecture
        n_batch, n_tokens, _ = x.shape
        q, k, v = (
            self._linear(f"{blk}attn_{name}", x, lora).view(n_batch, n_tokens, -1, arch.head_dim) for name in "qkv"
        )
        q = _turned(self._norm(blk + "attn_q_norm", q).transpose(1, 2), rope, table)
        k = _turned(self._norm(blk + "attn_k_norm", k).transpose(1, 2), rope, table)
        group = arch.n_head // arch.n_head_kv
        k, v = (each.repeat_interleave(group, dim=1) for each in (k, v.transpose(1, 2)))
        score = _capped(q @ k.transpose(-1, -2) * arch.attention_scale, arch.attention_cap)
        mixed = torch.softmax(score.masked_fill(~seen, -torch.inf), dim=-1) @ v
        return self._linear(blk + "attn_output", mixed.transpose(1, 2).reshape(n_batch, n_tokens, -1), lora)

    def _linear(self, name: str, x: Tensor, lora: Lora | None) -> Tensor:
        y = _product(x, self.weights, f"{name}.weight")
        if f"{name}.bias" in self.weights:
            y = y + self._vector(f"{name}.bias")
        added = None if lora is None else lora.product(f"{name}.weight", x)
        return y if added is None else y + added

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """RMS norm by the named weight; x as it is where the file has no such norm."""
        if f"{name}.weight" not in self.weights:
            return x
        weight = self._vector(f"{name}.weight")
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.architecture.eps) * weight

    def _vector(self, name: str) -> Tensor:
        if name not in self._vectors:
            self._vectors[name] = self.weights.vector(name)
        return self._vectors[name]


def _masks(n: int, window: int) -> dict[bool, Tensor]:
    """Which keys (columns) a query (row) sees, by whether its layer slides."""
    behind = torch.arange(n)[:, None] - torch.arange(n)
    return {False: behind >= 0, True: (behind >= 0) & (behind < window)}


def _turned(x: Tensor, rope: Rope, table: tuple[Tensor, Tensor]) -> Tensor:
    """x (batch, head, token, head_dim) with its pairs turned by their position; dimensions beyond the pairs stay."""
    cos, sin = table
    n_rot = 2 * cos.shape[-1]
    turning, rest = x[..., :n_rot], x[..., n_rot:]
    if rope.paired:
        a, b = turning[..., 0::2], turning[..., 1::2]
    else:
        a, b = turning[..., : n_rot // 2], turning[..., n_rot // 2 :]
    pairs = (a * cos - b * sin, a * sin + b * cos)
    turned = torch.stack(pairs, dim=-1).flatten(-2) if rope.paired else torch.cat(pairs, dim=-1)
    return torch.cat((turned, rest), dim=-1)


def _capped(x: Tensor, cap: float) -> Tensor:
    return cap * torch.tanh(x / cap) if cap else x
