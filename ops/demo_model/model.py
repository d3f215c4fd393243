"""The demonstration model: a llama-architecture decoder small enough to train on one CPU core.

RoPE rotates neighboring pairs (the GGUF `llama` convention), so export needs no permutation of Q and K.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelConfig:
    """Every row length is a multiple of 256, so that K-quants of the model exist."""

    n_vocab: int = 2048
    n_ctx: int = 512
    n_embd: int = 256
    n_ff: int = 768
    n_layer: int = 8
    n_head: int = 4
    n_kv_head: int = 2
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head


def rope_table(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (n_ctx, head_dim / 2)."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angle = torch.outer(torch.arange(config.n_ctx, dtype=torch.float64), config.rope_base**-half)
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (2i, 2i+1) of x (batch, head, token, head_dim) by position."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Past:
    """Keys and values (batch, kv_head, n_ctx, head_dim) of one layer, for decoding all rows at the same position."""

    def __init__(self, config: ModelConfig, batch: int) -> None:
        shape = (batch, config.n_kv_head, config.n_ctx, config.head_dim)
        self.keys, self.values, self.length = torch.zeros(shape), torch.zeros(shape), 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store one position and return all so far."""
        self.keys[:, :, self.length], self.values[:, :, self.length] = k[:, :, 0], v[:, :, 0]
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class Attention(nn.Module):
    """Causal grouped-query attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        kv_width = config.n_kv_head * config.head_dim
        self.q = nn.Linear(config.n_embd, config.n_embd, bias=False)
        self.k = nn.Linear(config.n_embd, kv_width, bias=False)
        self.v = nn.Linear(config.n_embd, kv_width, bias=False)
        self.o = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: Past | None = None) -> Tensor:
        """x: (batch, token, n_embd); with a past, one token."""
        batch, length, _ = x.shape
        dim = self.config.head_dim
        q = rotate(self.q(x).view(batch, length, -1, dim).transpose(1, 2), cos, sin)
        k = rotate(self.k(x).view(batch, length, -1, dim).transpose(1, 2), cos, sin)
        v = self.v(x).view(batch, length, -1, dim).transpose(1, 2)
        if past is not None:
            k, v = past.append(k, v)
        group = self.config.n_head // self.config.n_kv_head
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        joined: Tensor = self.o(mixed.transpose(1, 2).reshape(batch, length, -1))
        return joined


class Block(nn.Module):
    """Pre-norm attention, then a SwiGLU feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attn_norm = nn.RMSNorm(config.n_embd, eps=config.norm_eps)
        self.attn = Attention(config)
        self.ffn_norm = nn.RMSNorm(config.n_embd, eps=config.norm_eps)
        self.gate = nn.Linear(config.n_embd, config.n_ff, bias=False)
        self.up = nn.Linear(config.n_embd, config.n_ff, bias=False)
        self.down = nn.Linear(config.n_ff, config.n_embd, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, past: Past | None = None) -> Tensor:
        """x: (batch, token, n_embd)."""
        x = x + self.attn(self.attn_norm(x), cos, sin, past)
        h = self.ffn_norm(x)
        fed: Tensor = self.down(F.silu(self.gate(h)) * self.up(h))
        return x + fed


class DemoModel(nn.Module):
    """Token ids to logits, with the embedding tied to the output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_vocab, config.n_embd)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = nn.RMSNorm(config.n_embd, eps=config.norm_eps)
        cos, sin = rope_table(config)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._init)

    def _init(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.04)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.6)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (batch, token) to logits (batch, token, n_vocab)."""
        length = ids.shape[1]
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length])
        return F.linear(self.norm(x), self.embed.weight)

    def step(self, ids: Tensor, pasts: list[Past]) -> Tensor:
        """One more token (batch,) of every row to logits (batch, n_vocab)."""
        here = slice(pasts[0].length, pasts[0].length + 1)
        x = self.embed(ids[:, None])
        for block, past in zip(self.blocks, pasts, strict=True):
            x = block(x, self.cos[here], self.sin[here], past)
        return F.linear(self.norm(x), self.embed.weight)[:, 0]
