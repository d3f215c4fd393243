"""Which experts each token takes, and with what weights, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .functions import softmax

F64 = npt.NDArray[np.float64]

_GATINGS = {1: "softmax", 2: "sigmoid", 3: "chosen", 4: "softplus"}
# Architectures whose files name a gating, and what they have where it is not named.
_NAMED = {"glm4moe": 2, "minimax-m2": 2, "deepseek2": 1, "afmoe": 2, "laguna": 2, "lfm2moe": 1, "nemotron_h_moe": 2}


@dataclass(frozen=True)
class Routing:
    """How experts are chosen and weighed."""

    gating: str  # "softmax", "sigmoid", "softplus": its root; "chosen": the softmax over the chosen ones alone
    normalized: bool
    scale: float
    n_group: int
    n_group_used: int
    of_inputs: bool = False  # llama4: weights multiply what experts read, and the logits themselves choose


def read_routing(arch: str, get: Callable[[str, Any], Any]) -> Routing:
    """From a file's metadata."""
    gating, normalized, scale = ("chosen", False, 1.0) if arch == "gpt-oss" else ("softmax", True, 1.0)
    if arch in _NAMED:
        gating = _GATINGS[get("expert_gating_func", 0) or _NAMED[arch]]
        normalized = get("expert_weights_norm", False)
        scale = get("expert_weights_scale", 0.0) or 1.0
    if arch == "minimax-m2":
        normalized, scale = True, 1.0
    if arch == "lfm2moe":
        normalized = True
    if arch == "llama4":
        gating, normalized = "sigmoid", False
    groups = [get(f"expert_group_{count}", 1) for count in ("count", "used_count")]
    return Routing(gating, normalized, scale, groups[0], groups[1], of_inputs=arch == "llama4")


def route(r: Routing, n_used: int, logits: F64, bias: F64 | None) -> tuple[npt.NDArray[np.intp], F64]:
    """The experts of each token and their weights, (tokens, n_used) each. `bias` counts in the choice alone."""
    share = logits
    if r.gating == "softmax":
        share = softmax(logits)
    if r.gating == "sigmoid":
        share = 1 / (1 + np.exp(-logits))
    if r.gating == "softplus":
        share = np.sqrt(np.log1p(np.exp(logits)))
    score = logits if r.of_inputs else share if bias is None else share + bias
    if r.n_group > 1:  # groups compete by the sum of their two best
        of_groups = score.reshape(len(score), r.n_group, -1)
        sums = np.sort(of_groups, axis=-1)[..., -2:].sum(axis=-1)
        rank = np.argsort(np.argsort(-sums, kind="stable"), kind="stable")
        score = np.where(rank[..., None] < r.n_group_used, of_groups, -np.inf).reshape(share.shape)
    chosen = np.argsort(-score, kind="stable")[:, :n_used]
    weights = np.take_along_axis(share, chosen, axis=-1)
    if r.gating == "chosen":
        weights = softmax(weights)
    if r.normalized:
        weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), 2**-14)
    return chosen, np.asarray(weights * r.scale)
