"""What the decoder needs to know of a model beyond its weights, from the file's metadata.

Keys and defaults are those of llama.cpp's src/llama-model.cpp and src/models/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import Unsupported

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3")
_YARN_FAST, _YARN_SLOW = 32.0, 1.0  # turns over the original context between which YaRN blends


@dataclass(frozen=True, eq=False)
class Rope:
    """Rotary embedding: pair i turns by position * frequency[i]. `paired`: pairs are (2i, 2i+1), else (i, i + n/2)."""

    frequency: Tensor  # (n_rot / 2) float64
    magnitude: float
    paired: bool

    def table(self, n: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the first n positions, each (n, n_rot / 2) float32."""
        angle = torch.outer(torch.arange(n, dtype=torch.float64), self.frequency)
        return (angle.cos() * self.magnitude).float(), (angle.sin() * self.magnitude).float()


@dataclass(frozen=True)
class Architecture:
    """Layers that `slides` says see the last `window` tokens alone, and turn by `rope_sliding`. A cap of 0: none."""

    n_layer: int
    n_head: int
    n_head_kv: int
    head_dim: int
    eps: float
    embedding_scale: float
    attention_scale: float
    attention_cap: float
    final_cap: float
    gelu: bool
    window: int
    slides: tuple[bool, ...]
    rope: Rope
    rope_sliding: Rope


class _Keys:
    """The keys of the file's architecture."""

    def __init__(self, metadata: Mapping[str, object]) -> None:
        self._metadata = metadata
        self.arch = str(metadata.get("general.architecture", ""))

    def get(self, key: str, default: Any) -> Any:
        return self._metadata.get(f"{self.arch}.{key}", default)

    def one(self, key: str, default: int = 0) -> int:
        """A count that all layers share."""
        value = self.get(key, default)
        if isinstance(value, list | tuple):
            if len(set(value)) != 1:
                raise Unsupported(f"{self.arch}.{key}", "differs from layer to layer; such models cannot be trained")
            value = value[0]
        return int(value)


def describe(metadata: Mapping[str, object], divisors: Tensor | None) -> Architecture:
    """Of a model that Flyball has loaded. `divisors`: the file's rope_freqs.weight. Raises Unsupported."""
    keys = _Keys(metadata)
    if keys.arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise Unsupported("general.architecture", f"is {keys.arch!r}; training knows {known}")
    gemma = keys.arch.startswith("gemma")
    n_layer, n_head, n_embd = keys.one("block_count"), keys.one("attention.head_count"), keys.one("embedding_length")
    head_dim = keys.one("attention.key_length", n_embd // n_head)
    # The 27B models alone scale by the width per head instead of the head's own.
    width = n_embd // n_head if (keys.arch, n_layer) in (("gemma2", 46), ("gemma3", 62)) else head_dim
    scale = keys.get("attention.scale", 0.0) if keys.arch == "llama" else 0.0
    window, slides = _window(keys, n_layer)
    base: float = keys.get("rope.freq_base", 10000.0)
    base_sliding: float = keys.get("rope.freq_base_swa", 10000.0 if keys.arch == "gemma3" else base)
    rope = _rope(keys, head_dim, base, divisors, scaled=True)
    return Architecture(
        n_layer=n_layer,
        n_head=n_head,
        n_head_kv=keys.one("attention.head_count_kv", n_head),
        head_dim=head_dim,
        eps=keys.get("attention.layer_norm_rms_epsilon", 0.0),
        embedding_scale=math.sqrt(n_embd) if gemma else 1.0,
        attention_scale=scale or 1 / math.sqrt(width),
        attention_cap=keys.get("attn_logit_softcapping", 50.0) if keys.arch == "gemma2" else 0.0,
        final_cap=keys.get("final_logit_softcapping", 30.0 if keys.arch == "gemma2" else 0.0) if gemma else 0.0,
        gelu=gemma,
        window=window,
        slides=slides,
        rope=rope,
        rope_sliding=_rope(keys, head_dim, base_sliding, divisors, scaled=keys.arch != "gemma3"),
    )


def _window(keys: _Keys, n_layer: int) -> tuple[int, tuple[bool, ...]]:
    """The sliding window, 0 for none, and which layers have it: of a period all but the last, or as the file says."""
    periods = {"gemma2": 2, "gemma3": 6}
    if keys.arch not in periods:
        return 0, (False,) * n_layer
    window: int = keys.get("attention.sliding_window", 4096 if keys.arch == "gemma2" else 0)
    pattern = keys.get("attention.sliding_window_pattern", periods[keys.arch])
    if isinstance(pattern, int):
        pattern = [pattern == 0 or layer % pattern != pattern - 1 for layer in range(n_layer)]
    return window, tuple(window > 0 and bool(slides) for slides in pattern)


def _rope(keys: _Keys, head_dim: int, base: float, divisors: Tensor | None, scaled: bool) -> Rope:
    n_rot = keys.one("rope.dimension_count", head_dim)
    frequency = base ** (-torch.arange(0, n_rot, 2, dtype=torch.float64) / n_rot)
    if divisors is not None:
        frequency = frequency / divisors.double()
    factor = float(keys.get("rope.scaling.factor", keys.get("rope.scale_linear", 0.0)) or 1.0) if scaled else 1.0
    kind = keys.get("rope.scaling.type", "linear")
    magnitude = float(keys.get("rope.scaling.attn_factor", 1.0))
    if kind == "yarn":
        original = keys.one("rope.scaling.original_context_length", keys.one("context_length"))
        kept = _yarn_kept(n_rot, base, original)
        frequency = frequency * (kept + (1 - kept) / factor)
        magnitude *= 1 + 0.1 * math.log(factor) if factor > 1 else 1
    elif kind == "linear":
        frequency = frequency / factor
    elif kind != "none":
        raise Unsupported(f"{keys.arch}.rope.scaling.type", f"is {kind!r}; training knows none, linear and yarn")
    return Rope(frequency, magnitude, paired=keys.arch == "llama")


def _yarn_kept(n_rot: int, base: float, original: int) -> Tensor:
    """How much of each pair's own frequency YaRN keeps: a ramp from 1 for fast pairs to 0 for slow ones."""

    def pair_with(turns: float) -> float:
        return n_rot * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_with(_YARN_FAST)))
    high = min(n_rot - 1, math.ceil(pair_with(_YARN_SLOW)))
    ramp = (torch.arange(n_rot // 2, dtype=torch.float64) - low) / max(0.001, high - low)
    return 1 - ramp.clamp(0, 1)
