"""Llama 4: layers that attend within chunks, queries that grow with their position, experts that weigh their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import flyball
from tests.reference.models import write_model

CHUNK = 8192
NARROW: dict[str, Any] = {
    "n_embd": 64,
    "n_head": 2,
    "n_head_kv": 1,
    "head_dim": 32,
    "n_ff": 32,
    "n_ff_dense": 32,
    "n_ff_shared": 32,
    "n_ctx_train": 2 * CHUNK,
}
IDS = [(37 * i * i + 11 * i + 5) % 341 for i in range(CHUNK + 40)]


def test_a_chunk_sees_nothing_before_it(tmp_path: Path) -> None:
    """Rotation is relative, so the second chunk of layers that all attend in chunks has the logits of a first one."""
    path = write_model(tmp_path / "m.gguf", "llama4", "F32", n_layer=3, **NARROW).path
    with flyball.Model.load(path, context=CHUNK + 64, cache_type="f32") as model:
        whole, second = model.logits(IDS), model.logits(IDS[CHUNK:])
    assert np.abs(whole[CHUNK:] - second).max() < 1e-3
    assert np.abs(whole[:40] - second).max() > 1


def test_chunks_and_growing_queries_on_every_path(tmp_path: Path) -> None:
    """Across the border of two chunks: other tables, batches, threads, and sessions that share the first chunk."""
    path = write_model(tmp_path / "m.gguf", "llama4", "Q8_0", n_layer=4, **NARROW).path
    ids = IDS[: CHUNK + 20]
    options: Any = {"ignore_eos": True, "seed": 3}
    digests = set()
    for isa in [isa for isa in flyball.isas() if isa not in ("scalar", "swar")]:  # those would take minutes
        for threads, batch in ((1, 64), (2, 41)) if isa == flyball.isas()[0] else ((2, 41),):
            with flyball.Model.load(path, isa=isa, threads=threads, context=CHUNK + 64, prefix_cache_mb=64) as model:
                first = model.session().generate(ids, 8, batch=batch, **options)
                again = model.session().generate(ids, 8, batch=7, **options)
                assert again.metrics.shared_tokens >= CHUNK
                digests |= {first.digest, again.digest}
    assert len(digests) == 1
