"""What a file says is used, known to be ignorable, or refused by name; nothing of it is dropped in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flyball
from tests.reference import gguf_file as gf
from tests.reference.forward import logits as reference_logits
from tests.reference.models import write_model
from tests.reference.variants import VARIANTS

IDS = [*range(40, 70), *range(3, 9)]


def ones(*shape: int) -> Any:
    return np.full(shape, 2, np.float32)


def logits_of(path: Path) -> Any:
    with flyball.Model.load(path, context=64) as model:
        return model.logits(IDS)


@pytest.mark.parametrize(
    ("variant", "name", "shape"),
    [
        ("llama", "blk.0.attn_q_norm.weight", (64,)),
        ("llama", "blk.1.attn_sinks.weight", (4,)),
        ("llama", "blk.1.ffn_down.scale", (2,)),
        ("qwen2", "token_embd.scale", (1,)),
        ("qwen3", "cls.output.weight", (2, 256)),
        ("phi3", "blk.0.attn_q.scale", (1,)),
        ("gemma3", "dense_2.weight", (256, 256)),
    ],
)
def test_a_tensor_that_nothing_uses_is_refused(tmp_path: Path, variant: str, name: str, shape: tuple[int, ...]) -> None:
    path = write_model(tmp_path / "m.gguf", variant, "F32", more={name: ones(*shape)}).path
    with pytest.raises(flyball.Unsupported, match=name):
        flyball.Model.load(path)


@pytest.mark.parametrize(
    ("variant", "key"),
    [
        ("cohere2", "attention.sliding_window"),
        ("cohere2", "logit_scale"),
        ("granite", "logit_scale"),
        ("granitemoe", "logit_scale"),
        ("lfm2moe", "expert_gating_func"),
        ("gpt-oss", "attention.sliding_window"),
        ("muse-glimmer", "logit_scale"),
        ("qwen35", "ssm.group_count"),
    ],
)
def test_what_makes_another_model_and_has_no_usual_value_must_be_there(tmp_path: Path, variant: str, key: str) -> None:
    """llama.cpp demands these keys, too: a file that lost one is refused by its name, not run by a guess."""
    path = write_model(tmp_path / "m.gguf", variant, "F32", keys={f"{VARIANTS[variant].arch}.{key}": None}).path
    with pytest.raises(flyball.NotFound, match=rf"\.{key}: "):
        flyball.Model.load(path)


@pytest.mark.parametrize("key", ["key_length", "value_length"])
def test_a_latent_cache_of_another_width_is_refused(tmp_path: Path, key: str) -> None:
    path = write_model(tmp_path / "m.gguf", "deepseek2", "F32", keys={f"deepseek2.attention.{key}": gf.u32(128)}).path
    with pytest.raises(flyball.Unsupported, match=f"attention.{key}"):
        flyball.Model.load(path)


def saved_by_llama_cpp(arch: str) -> dict[str, gf.Value | None]:
    """What llama.cpp's own writer adds for any architecture, at the values that it has where the model sets none."""
    zeros = ["expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count", "pooling_type"]
    zeros += ["nextn_predict_layers", "leading_dense_block_count", "n_deepstack_layers", "attention.temperature_length"]
    reals = {"rope.scaling.factor": 0.0, "rope.scaling.attn_factor": 1.0, "rope.scaling.yarn_ext_factor": -1.0}
    reals |= {"rope.scaling.yarn_beta_fast": 32.0, "rope.scaling.yarn_beta_slow": 1.0, "logit_scale": 0.0}
    reals |= {"rope.scaling.yarn_log_multiplier": 0.0, "attention.clamp_kqv": 0.0, "expert_weights_scale": 0.0}
    keys = {key: gf.u32(0) for key in zeros} | {key: gf.f32(value) for key, value in reals.items()}
    keys |= {"attention.causal": gf.boolean(True), "rope.scaling.finetuned": gf.boolean(False)}
    keys |= {"rope.scaling.type": gf.string("linear"), "rope.dimension_sections": gf.i32s([0, 0, 0, 0])}
    return {f"{arch}.{key}": value for key, value in keys.items()}


@pytest.mark.parametrize(
    "arch",
    [
        *("llama", "qwen2", "qwen2vl", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "seed_oss", "ernie4_5"),
        *("gemma4", "mistral3"),
    ],
)
def test_what_llama_cpp_saves_of_a_model_changes_nothing(tmp_path: Path, arch: str) -> None:
    shape: dict[str, Any] = {"rope_scaling": "", "rope_attn_factor": 0.0}
    plain = write_model(tmp_path / "a.gguf", arch, "F32", **shape).path
    saved = write_model(tmp_path / "b.gguf", arch, "F32", keys=saved_by_llama_cpp(arch), **shape).path
    assert np.array_equal(logits_of(plain), logits_of(saved))


def test_more_layers_than_the_file_says_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "llama", "F32", n_layer=6, keys={"llama.block_count": gf.u32(4)}).path
    with pytest.raises(flyball.Unsupported, match=r"blk\.4\..*layer 4.*llama\.block_count says 4"):
        flyball.Model.load(path)


@pytest.mark.parametrize("variant", ["llama-bias", "phi3", "qwen3moe", "qwen3moe-scaled"])
@pytest.mark.parametrize("fused", [False, True])
def test_scales_and_fused_matrices_equal_the_reference(tmp_path: Path, variant: str, fused: bool) -> None:
    path = write_model(tmp_path / "m.gguf", variant, "F32", scaled=True, fused=fused).path
    assert np.abs(logits_of(path) - reference_logits(path, IDS)).max() < 0.01


@pytest.mark.parametrize("variant", ["llama", "qwen3moe"])
def test_layers_of_different_shapes_equal_the_reference(tmp_path: Path, variant: str) -> None:
    numbers = [(4, 2, 256, 2), (8, 8, 512, 1), (2, 1, 256, 4)]
    layers = [dict(zip(("n_head", "n_head_kv", "n_ff", "n_expert_used"), row, strict=True)) for row in numbers]
    shape: dict[str, Any] = {"n_layer": 3, "layers": tuple(layers), "head_dim": 64, "explicit_head_dim": True}
    path = write_model(tmp_path / "m.gguf", variant, "F32", **shape).path
    assert np.abs(logits_of(path) - reference_logits(path, IDS)).max() < 0.01


def test_blocks_that_draft_change_nothing(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a.gguf", "qwen3", "F32").path
    keys: dict[str, gf.Value | None] = {"qwen3.block_count": gf.u32(4), "qwen3.nextn_predict_layers": gf.u32(1)}
    more = {"blk.3.nextn.eh_proj.weight": ones(256, 512), "blk.3.attn_norm.weight": ones(256)}
    drafting = write_model(tmp_path / "b.gguf", "qwen3", "F32", keys=keys, more=more).path
    assert np.array_equal(logits_of(plain), logits_of(drafting))


@pytest.mark.parametrize("variant", ["llama", "llama-tied", "qwen3moe"])
def test_needs_are_those_of_a_loaded_model(tmp_path: Path, variant: str) -> None:
    spec = write_model(tmp_path / "m.gguf", variant, "F32")
    with flyball.Model.load(spec.path, context=64) as model:
        needs, sizes = model.needs(), {name: (len(shape), n_bytes) for name, _, shape, n_bytes in model.tensors()}
        loaded = model.info.weight_bytes
    assert needs is not None
    weights, token = needs
    assert weights == loaded + sum(n_bytes for n_dims, n_bytes in sizes.values() if n_dims == 1)
    experts = sum(n_bytes for name, (_, n_bytes) in sizes.items() if "_exps." in name)
    shape, row = spec.shape, spec.shape.n_embd * 4
    spared = experts * (shape.n_expert - shape.n_expert_used) // shape.n_expert if experts else 0
    assert token == weights - spared + row
    with flyball.Model.load(spec.path, vocab_only=True) as model:
        assert model.needs() == needs


def test_vision_parts_and_input_scales_change_nothing(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "a.gguf", "gemma3", "F32").path
    more = {"v.patch_embedding.weight": ones(4, 4), "mm.x.weight": ones(4, 4), "blk.0.attn_q.input_scale": ones(1)}
    # Vision parts are a sign of Ollama's converter, whose gaps would have other defaults: this file has none.
    other = write_model(tmp_path / "b.gguf", "gemma3", "F32", more=more).path
    assert np.array_equal(logits_of(plain), logits_of(other))


def test_attention_that_is_not_causal_is_refused(tmp_path: Path) -> None:
    keys = {"llama.attention.causal": gf.boolean(False)}
    path = write_model(tmp_path / "m.gguf", "llama", "F32", keys=keys).path
    with pytest.raises(flyball.Unsupported, match=r"llama\.attention\.causal.*is false"):
        flyball.Model.load(path)


def test_ollamas_keys_of_gemma3_give_the_model_that_they_mean(tmp_path: Path) -> None:
    ours = write_model(tmp_path / "a.gguf", "gemma3", "F32", rope_scaling="", rope_base_swa=20000.0).path
    keys: dict[str, gf.Value | None] = {
        "gemma3.rope.freq_base": None,
        "gemma3.rope.freq_base_swa": None,
        "gemma3.rope.global.freq_base": gf.f32(1e6),
        "gemma3.rope.local.freq_base": gf.f32(20000.0),
        "gemma3.attention.layer_norm_rms_epsilon": None,
        "tokenizer.ggml.add_space_prefix": None,
    }
    theirs = write_model(tmp_path / "b.gguf", "gemma3", "F32", rope_scaling="", keys=keys).path
    assert np.array_equal(logits_of(ours), logits_of(theirs))
    texts = []
    for path in (ours, theirs):
        with flyball.Model.load(path, vocab_only=True) as model:
            texts.append(model.tokenize("the one", add_special=False))
    assert texts[0] == texts[1]


def test_ollamas_gemma3_lists_a_token_of_images_that_the_embedding_lacks(tmp_path: Path) -> None:
    listed = VARIANTS["gemma3"].n_vocab + 1
    wider = write_model(tmp_path / "wider.gguf", "gemma3", "F32", n_vocab=listed).path
    keys: dict[str, gf.Value | None] = {"gemma3.mm.tokens_per_image": gf.u32(256)}
    with flyball.Model.load(wider, vocab_only=True) as model:
        listing: dict[str, Any] = model.metadata(limit=listed)
    keys["tokenizer.ggml.tokens"] = gf.strings(listing["tokenizer.ggml.tokens"])
    keys["tokenizer.ggml.token_type"] = gf.i32s(listing["tokenizer.ggml.token_type"])
    keys["tokenizer.ggml.scores"] = gf.f32s(listing["tokenizer.ggml.scores"])
    plain = write_model(tmp_path / "plain.gguf", "gemma3", "F32").path
    longer = write_model(tmp_path / "longer.gguf", "gemma3", "F32", keys=keys).path
    assert np.array_equal(logits_of(longer), logits_of(plain))
    del keys["gemma3.mm.tokens_per_image"]
    other = write_model(tmp_path / "other.gguf", "gemma3", "F32", keys=keys).path
    with pytest.raises(flyball.FormatError, match=r"token_embd\.weight.*shape"):
        flyball.Model.load(other)


def test_a_sliding_pattern_of_numbers_equals_the_reference(tmp_path: Path) -> None:
    pattern = {"gemma3.attention.sliding_window_pattern": gf.u32s([1, 0, 1, 1, 0, 1, 0])}
    path = write_model(tmp_path / "m.gguf", "gemma3", "F32", sliding_window=8, keys=pattern).path
    assert np.abs(logits_of(path) - reference_logits(path, IDS)).max() < 0.01


def test_yarn_leaves_the_sliding_layers_of_gemma3_alone(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "gemma3", "F32", rope_scaling="yarn", rope_original=128).path
    assert np.abs(logits_of(path) - reference_logits(path, IDS)).max() < 0.01


@pytest.mark.parametrize(("kind", "pooling"), [(0, "mean"), (1, "mean"), (2, "first"), (3, "last")])
def test_embeddings_are_pooled_as_the_file_says(tmp_path: Path, kind: int, pooling: str) -> None:
    keys = {"qwen3.pooling_type": gf.u32(kind)}
    path = write_model(tmp_path / "m.gguf", "qwen3", "F32", keys=keys).path
    with flyball.Model.load(path, context=64) as model:
        assert np.array_equal(model.embed(IDS), model.embed(IDS, pooling))


def test_a_whole_file_may_be_named_like_a_part(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf", "llama", "F32").path
    for name in ("m-00001-of-00001.gguf", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"):
        (tmp_path / name).write_bytes(whole.read_bytes())
        with flyball.Model.load(tmp_path / name, context=64) as model:
            assert model.info.fingerprint
    part = {"split.no": gf.Value(2, b"\0\0"), "split.count": gf.Value(2, b"\3\0")}
    write_model(tmp_path / "m-00001-of-00003.gguf", "llama", "F32", keys=part)
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    with pytest.raises(flyball.NotFound, match="00002-of-00003"):
        flyball.Model.load(tmp_path / "m-00001-of-00003.gguf")


def test_keys_that_nothing_reads_are_listed(tmp_path: Path) -> None:
    keys = {"llama.logit_scale": gf.f32(0.25), "llama.attention.head_count": gf.i32s([4, 4])}
    path = write_model(tmp_path / "m.gguf", "llama", "F32", keys=keys).path
    with flyball.Model.load(path, vocab_only=True) as model:
        unread = model.keys_not_read()
        assert model.problem() is None
    assert "llama.logit_scale" in unread
    assert not {"llama.rope.freq_base", "llama.attention.head_count", "tokenizer.ggml.merges"} & set(unread)


def test_the_problem_of_a_file_is_known_without_its_weights(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "llama", "F32", more={"lm_head.weight": ones(384, 256)}).path
    with flyball.Model.load(path, vocab_only=True) as model:
        problem = model.problem()
    assert problem is not None
    assert "lm_head.weight" in problem
