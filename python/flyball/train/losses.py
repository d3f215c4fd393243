"""What training makes smaller, of log-probabilities in nats.

SFT    the negative log-probability of the answers' tokens
drift  the Kullback-Leibler divergence from the base's distribution to the adapter's, of the tokens of replayed answers
DPO    -log sigmoid(beta * ((chosen - base's chosen) - (rejected - base's rejected))), of whole answers (Rafailov et
       al., 2023)
KTO    1 - sigmoid(beta * (answer - base's answer - z)) for good answers, with the difference turned for bad ones; z is
       how far the batch has moved from the base on answers to other questions (Ethayarajh et al., 2024)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument


def sft(answers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Summed over tokens, each with its answer's weight; `answers`: log-probabilities of each answer's tokens."""
    return -torch.stack([weight * answer.sum() for answer, weight in zip(answers, weights, strict=True)]).sum()


def drift(logits: Tensor, base: Tensor) -> Tensor:
    """Of each token, (n,); logits (n, n_vocab) with the adapter and without."""
    return F.kl_div(logits.log_softmax(-1), base.log_softmax(-1), reduction="none", log_target=True).sum(-1)


def dpo(chosen: Tensor, rejected: Tensor, base_chosen: Tensor, base_rejected: Tensor, beta: float) -> Tensor:
    """Of each pair, (n,); all arguments are log-probabilities of whole answers, (n,)."""
    return -F.logsigmoid(beta * ((chosen - base_chosen) - (rejected - base_rejected)))


def kto(answers: Tensor, base: Tensor, good: Tensor, moved: Tensor, beta: float) -> Tensor:
    """Of each answer, (n,), unweighted. `good`: booleans (n,); `moved`: z, without a gradient."""
    gain = beta * (answers - base - moved)
    return 1 - torch.sigmoid(torch.where(good, gain, -gain))


def kto_moved(mismatched: Tensor, base: Tensor) -> Tensor:
    """z of a batch: how much likelier answers to other questions became on average, at least 0; without a gradient."""
    return (mismatched - base).mean().clamp(min=0).detach()


def kto_weights(n_good: int, n_bad: int) -> tuple[float, float]:
    """Of good and of bad answers: all good ones weigh as much as all bad ones, so that neither side wins by number."""
    if not n_bad:
        raise InvalidArgument("method", "kto has good answers alone; use sft for them")
    if not n_good:
        return 1.0, 1.0
    return max(1.0, n_bad / n_good), max(1.0, n_good / n_bad)
