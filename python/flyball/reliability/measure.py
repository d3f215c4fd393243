"""What tokens and loading cost here, as multiples of a yardstick that is measured in turn with them.

One thread, short pieces, and the tenth percentile of many: on a busy machine some pieces are undisturbed, and a mean or
a median of long ones mostly tells of the neighbours. Measured on two processors with no, one and two busy neighbours:
decode at 25.8, 25.8 and 25.7 times the yardstick, prefill at 3.80, 3.76 and 3.82.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..model import Model
from ..options import GenerateKeywords

_PROMPT_TOKENS = 64
_DECODE_TOKENS = 4
_DECODES = 3  # for each prompt
_READ_BYTES = 4 << 20
_PLAIN: GenerateKeywords = {"temperature": 0, "ignore_eos": True, "speculate": "off"}


def yardstick() -> float:
    """What one thread takes here for a million bytes read, and integer products: the geometric mean, in seconds.

    By the processor's best instruction set, whatever the model chose: a worse choice is a slow-down.
    """
    return 1e6 / math.sqrt(_core.read_bandwidth(_READ_BYTES, 1, 2) * _core.integer_peak("auto", 1))


def costs(path: Path, pairs: int) -> dict[str, Any]:
    """Costs of a token in prefill and decode and of loading: multiples of the yardstick, and as measured."""
    model = Model.load(path, threads=1)
    n_vocab = model.info.n_vocab
    session = model.session()
    ids = [(2654435761 * (i + 1) >> 7) % n_vocab for i in range(min(_PROMPT_TOKENS, session.context - _DECODE_TOKENS))]
    samples: dict[str, list[float]] = {"prefill": [], "decode": [], "load": [], "yardstick": []}
    for _ in range(pairs):
        session.reset()
        samples["prefill"].append(session.generate(ids, 1, **_PLAIN).metrics.prefill.cycles_per_token or 0)
        for _ in range(_DECODES):
            samples["decode"].append(
                session.generate(ids, _DECODE_TOKENS, **_PLAIN).metrics.decode.cycles_per_token or 0
            )
        start = _core.cycles()
        Model.load(path, threads=1).close()
        samples["load"].append(_core.cycles() - start)
        samples["yardstick"].append(yardstick() * _core.cycles_per_second())
    model.close()
    return _as_multiples(samples)


def guest_costs(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Of a machine that QEMU plays, from what it journaled: the yardstick is this machine, which plays it."""
    second = _core.cycles_per_second()
    samples = {
        "prefill": observed["prefill"],
        "decode": observed["decode"],
        "load": [observed["startup"]["model_prepare_ms"] * second / 1e3],
        "yardstick": [yardstick() * second for _ in range(10)],
    }
    return _as_multiples(samples)


def _as_multiples(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    low = {name: float(np.percentile(values, 10)) for name, values in samples.items()}
    yardstick_cycles = low.pop("yardstick")
    return {"cycles": low, "cost": {name: value / yardstick_cycles for name, value in low.items()}}
