"""Mixtures of experts: the referee's logits, one answer on every path, and files whose experts do not fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import flyball
from tests.python.engine.exactness_matrix import paths
from tests.reference import gguf_file as gf
from tests.reference.demo import metadata_of
from tests.reference.distance import distance
from tests.reference.forward import logits as reference_logits
from tests.reference.models import write_model
from tests.reference.variants import VARIANTS

ARCH = "qwen3moe"
IDS = [(7919 * i * i + 31 * i) % 341 for i in range(60)]


def tensors_of(path: Path) -> tuple[dict[str, gf.Value], dict[str, Any]]:
    """Metadata and F32 tensors of a file, to be written again with changes."""
    reader = gguf.GGUFReader(path)
    return metadata_of(reader), {tensor.name: np.array(tensor.data, np.float32) for tensor in reader.tensors}


def write(path: Path, metadata: dict[str, gf.Value], tensors: dict[str, Any]) -> Path:
    def of(name: str, values: Any) -> gf.Tensor:
        return gf.Tensor(name, values.shape, "F32", lambda: [values.tobytes()])

    gf.write_gguf(path, metadata, [of(name, values) for name, values in tensors.items()])
    return path


ROUTED = [variant for variant, shape in VARIANTS.items() if shape.n_expert]


@pytest.mark.parametrize("wtype", ["F32", "F16"])
@pytest.mark.parametrize("variant", ROUTED)
def test_logits_are_the_referees(tmp_path: Path, variant: str, wtype: str) -> None:
    """With keys and values in f32: the rounding of f16 may make a near tie of two experts go the other way."""
    path = write_model(tmp_path / "m.gguf", variant, wtype, seed=2).path
    with flyball.Model.load(path, context=64) as model:
        found = distance(reference_logits(path, IDS, 64), model.session(cache_type="f32").logits(IDS))
    assert found.kl_max < 1e-9, found


@pytest.mark.parametrize(
    ("variant", "wtype"),
    [(ARCH, "F32"), (ARCH, "Q8_0"), (ARCH, "Q4_K"), ("gpt-oss", "Q8_0"), ("glm4moe", "Q4_K"), ("deepseek2", "Q8_0")],
)
def test_one_answer_on_every_path(tmp_path: Path, variant: str, wtype: str) -> None:
    path = write_model(tmp_path / "m.gguf", variant, wtype).path
    logits, digests = set(), set()
    for isa, threads, batches in paths():
        with flyball.Model.load(path, isa=isa, threads=threads, context=128) as model:
            logits |= {model.logits(IDS, batch=batch).tobytes() for batch in batches}
            options: Any = {"ignore_eos": True, "seed": 3}
            digests |= {result.digest for result in model.generate_many([IDS, IDS[:5], IDS], 8, **options)[::2]}
            digests.add(model.generate(IDS, 8, **options).digest)
    assert len(logits) == len(digests) == 1


def test_experts_that_are_equally_good_are_chosen_by_number(tmp_path: Path) -> None:
    metadata, tensors = tensors_of(write_model(tmp_path / "m.gguf", ARCH, "F32").path)
    for name, router in tensors.items():
        if "ffn_gate_inp" in name:
            router[:] = router[0]
    path = write(tmp_path / "ties.gguf", metadata, tensors)
    without = {name: np.array(values) for name, values in tensors.items()}
    for name, values in without.items():
        if "_exps" in name:
            values[3:] = 1e3  # never chosen of eight, three are
    with flyball.Model.load(path, context=64) as model:
        logits = model.logits(IDS)
    with flyball.Model.load(write(tmp_path / "lower.gguf", metadata, without), context=64) as model:
        assert model.logits(IDS).tobytes() == logits.tobytes()
    with flyball.Model.load(path, context=64) as model:
        exact = model.session(cache_type="f32").logits(IDS)
    assert distance(reference_logits(path, IDS), exact).kl_max < 1e-9


def test_fused_gate_and_up(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "m.gguf", ARCH, "F32").path
    metadata, tensors = tensors_of(plain)
    for layer in range(3):
        gate, up = (tensors.pop(f"blk.{layer}.ffn_{name}_exps.weight") for name in ("gate", "up"))
        tensors[f"blk.{layer}.ffn_gate_up_exps.weight"] = np.concatenate([gate, up], axis=1)
    found = []
    for path in (plain, write(tmp_path / "fused.gguf", metadata, tensors)):
        with flyball.Model.load(path, context=64) as model:
            found.append(model.logits(IDS).tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("key", "value", "error", "says"),
    [
        ("expert_count", None, flyball.NotFound, "expert_count"),
        ("expert_count", 0, flyball.FormatError, "expert_count at .* is 0"),
        ("expert_count", 7, flyball.FormatError, "ffn_gate_inp.weight .* has shape"),
        ("expert_count", 5000, flyball.FormatError, "expert_count at .* is 5000"),
        ("expert_used_count", None, flyball.NotFound, "expert_used_count"),
        ("expert_used_count", 0, flyball.FormatError, "expert_used_count at .* is 0"),
        ("expert_used_count", 9, flyball.FormatError, "expert_used_count at .* is 9"),
        ("expert_feed_forward_length", 128, flyball.FormatError, "ffn_gate_exps.weight .* has shape"),
        ("expert_group_count", 4, flyball.NotFound, "expert_group_used_count"),
        ("expert_group_count", 3, flyball.FormatError, "expert_group_count at .* is 3, which does not divide the 8"),
        ("expert_group_count", 8, flyball.FormatError, "expert_group_count at .* is 8, which does not divide the 8"),
        ("expert_group_count", 65, flyball.FormatError, "expert_group_count at .* is 65"),
        ("expert_group_used_count", 0, flyball.FormatError, "expert_group_used_count at .* is 0"),
        ("expert_group_used_count", 5, flyball.FormatError, "expert_group_used_count at .* is 5"),
        ("expert_group_used_count", 1, flyball.FormatError, "expert_group_used_count at .* is 1; those groups"),
    ],
)
def test_counts_that_do_not_fit(
    tmp_path: Path, key: str, value: int | None, error: type[flyball.Error], says: str
) -> None:
    keys = {f"{ARCH}.{key}": None if value is None else gf.u32(value)}
    if key == "expert_group_used_count":
        keys[f"{ARCH}.expert_group_count"] = gf.u32(4)
    if key == "expert_group_count" and value != 4:
        keys[f"{ARCH}.expert_group_used_count"] = gf.u32(2)
    path = write_model(tmp_path / "m.gguf", ARCH, "F32", keys=keys).path
    with pytest.raises(error, match=says):
        flyball.Model.load(path)


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    metadata, tensors = tensors_of(write_model(tmp_path / "m.gguf", ARCH, "F32").path)
    name = "blk.1.ffn_up_exps.weight"
    experts = tensors[name]
    turned = {**tensors, name: np.ascontiguousarray(experts.reshape(experts.shape[1], experts.shape[0], -1))}
    with pytest.raises(flyball.FormatError, match=f"{name} .* has shape"):
        flyball.Model.load(write(tmp_path / "turned.gguf", metadata, turned))
    del tensors[name]
    with pytest.raises(flyball.NotFound, match=name):
        flyball.Model.load(write(tmp_path / "missing.gguf", metadata, tensors))


@pytest.mark.parametrize(("arch", "of"), [("qwen3vl", "qwen3"), ("qwen3vlmoe", "qwen3moe"), ("qwen2vl", "qwen2")])
def test_a_model_of_images_is_the_same_model_of_text(tmp_path: Path, arch: str, of: str) -> None:
    metadata, tensors = tensors_of(write_model(tmp_path / "m.gguf", of, "F32").path)
    named = {key.replace(f"{of}.", f"{arch}."): value for key, value in metadata.items()}
    named |= {"general.architecture": gf.string(arch), f"{arch}.rope.dimension_sections": gf.i32s([24, 20, 20, 0])}
    found = []
    for path in (tmp_path / "m.gguf", write(tmp_path / "images.gguf", named, tensors)):
        with flyball.Model.load(path, context=64) as model:
            found.append(model.logits(IDS).tobytes())
    assert found[0] == found[1]


def test_a_router_of_nan_ends_with_an_error(tmp_path: Path) -> None:
    metadata, tensors = tensors_of(write_model(tmp_path / "m.gguf", ARCH, "F32").path)
    tensors["blk.1.ffn_gate_inp.weight"][2] = np.nan
    path = write(tmp_path / "nan.gguf", metadata, tensors)
    with (
        flyball.Model.load(path, context=64) as model,
        pytest.raises(flyball.Error, match="computed NaN or infinity at position 60"),
    ):
        model.generate(IDS, 2)
