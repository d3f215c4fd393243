"""How far a runtime's logits are from the referee's: Kullback-Leibler divergence, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def log_softmax(logits: npt.NDArray[np.floating]) -> F64:
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def divergence(reference: F64, other: npt.NDArray[np.floating]) -> F64:
    """KL(reference || other) in nats at each position; both (positions, vocabulary) logits."""
    if reference.shape != other.shape:
        raise ValueError(f"logits of shape {other.shape} cannot be compared with {reference.shape}")
    p, q = log_softmax(reference), log_softmax(other)
    return np.asarray((np.exp(p) * (p - q)).sum(axis=-1))


@dataclass(frozen=True)
class Distance:
    """Over all positions of a case: mean and greatest divergence, largest difference of a logit, agreement of the
    most likely token; median divergence, which positions where a router chose another expert do not move."""

    positions: int
    kl_mean: float
    kl_max: float
    logit_difference_max: float
    top_token_agreement: float
    kl_median: float = 0.0  # not recorded before there were routers


def distance(reference: F64, other: npt.NDArray[np.floating]) -> Distance:
    kl = divergence(reference, other)
    return Distance(
        positions=len(kl),
        kl_mean=float(kl.mean()),
        kl_max=float(kl.max()),
        logit_difference_max=float(np.abs(reference - other).max()),
        top_token_agreement=float((reference.argmax(-1) == other.argmax(-1)).mean()),
        kl_median=float(np.median(kl)),
    )
