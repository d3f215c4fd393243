"""Answers that a model is made to give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import flyball

Processor = Callable[[npt.NDArray[np.int32], npt.NDArray[np.float32]], None]


def forced(model: flyball.Model, text: str) -> dict[str, Any]:
    """Options with which the model writes this text, and then the end of its turn."""
    tokens = model.tokenize(text, add_special=False, parse_special=True)
    left = iter([*tokens, model.info.eos])

    def force(_: npt.NDArray[np.int32], logits: npt.NDArray[np.float32]) -> None:
        token = next(left)
        logits[:] = -np.inf
        logits[token] = 0

    return {"max_tokens": len(tokens) + 2, "logits_processor": force}
