"""Measure the costs of tokens and of loading as multiples of a reference workload, measured in turn with them.

One thread, and the 10th percentile of many short samples: on a busy machine some short samples are undisturbed, while
the mean or median of long ones mostly measures the other load. With zero, one and two busy processes on two processors,
decode measured 25.8, 25.8 and 25.7 times the reference workload, prefill 3.80, 3.76 and 3.82.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..engine.model import Model
from ..engine.options import GenerateKeywords

_PROMPT_TOKENS = 64
_DECODE_TOKENS = 4
_DECODES = 3  # for each prompt
_READ_BYTES = 4 << 20
_MOST_LOADING = 10  # seconds per run, so that a large model is loaded only a few times
_MOST_MEMORY = 64 << 20
_PLAIN: GenerateKeywords = {"temperature": 0, "ignore_eos": True, "speculate": "off"}


def reference_workload() -> float:
    """Seconds of one thread for a million bytes read and a million integer products: the geometric mean.

    With the processor's best instruction set, whatever the model uses, so that a worse choice is a slow-down.
    """
    return 1e6 / math.sqrt(_core.read_bandwidth(_READ_BYTES, 1, 2) * _core.integer_peak("auto", 1))


def fresh_memory(n_bytes: int) -> int:
    """Cycles to allocate, touch and free memory, which dominates loading."""
    start = _core.cycles()
    np.empty(n_bytes, np.uint8).fill(1)
    return _core.cycles() - start


def costs(path: Path, pairs: int) -> dict[str, Any]:
    """Costs of prefill and decode tokens and of loading: as multiples of the reference workload, and in cycles.

    Loading is also normalized by memory cost, as other load that fills the caches slows it by up to 15 %.
    """
    model = Model.load(path, threads=1)
    n_vocab = model.info.n_vocab
    session = model.session()
    ids = [(2654435761 * (i + 1) >> 7) % n_vocab for i in range(min(_PROMPT_TOKENS, session.context - _DECODE_TOKENS))]
    samples: dict[str, list[float]] = {"prefill": [], "decode": [], "load": [], "memory": [], "reference": []}
    loaded_bytes = path.stat().st_size
    for _ in range(pairs):
        session.reset()
        samples["prefill"].append(session.generate(ids, 1, **_PLAIN).metrics.prefill.cycles_per_token or 0)
        for _ in range(_DECODES):
            samples["decode"].append(
                session.generate(ids, _DECODE_TOKENS, **_PLAIN).metrics.decode.cycles_per_token or 0
            )
        if sum(samples["load"]) < _MOST_LOADING * _core.cycles_per_second():
            start = _core.cycles()
            Model.load(path, threads=1).close()
            samples["load"].append(_core.cycles() - start)
            samples["memory"].append(fresh_memory(min(loaded_bytes, _MOST_MEMORY)))
        samples["reference"].append(reference_workload() * _core.cycles_per_second())
    model.close()
    memory = min(samples.pop("memory")) * (loaded_bytes / min(loaded_bytes, _MOST_MEMORY))
    least_reference = min(samples["reference"]) * loaded_bytes / 1e6
    found = _as_multiples(samples)
    found["cost"]["load"] = min(samples["load"]) / math.sqrt(memory * least_reference)
    return found


def guest_costs(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Costs of a machine emulated by QEMU, from its journal; the reference workload runs on this host."""
    second = _core.cycles_per_second()
    samples = {
        "prefill": observed["prefill"],
        "decode": observed["decode"],
        "load": [observed["startup"]["model_prepare_ms"] * second / 1e3],
        "reference": [reference_workload() * second for _ in range(10)],
    }
    return _as_multiples(samples)


def _as_multiples(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    low = {name: float(np.percentile(values, 10)) for name, values in samples.items()}
    reference_cycles = low.pop("reference")
    return {"cycles": low, "cost": {name: value / reference_cycles for name, value in low.items()}}
