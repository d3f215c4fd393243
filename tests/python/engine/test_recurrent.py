"""Recurrent layers: the referee's logits, and a state that goes back, is shared, saved and restored with equal bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flyball
from tests.reference import gguf_file as gf
from tests.reference.distance import distance
from tests.reference.forward import logits as reference_logits
from tests.reference.models import write_model

ARCHITECTURES = ("qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe", "granitehybrid", "nemotron_h", "nemotron_h_moe")
KINDS = ("qwen35", "qwen3next", "lfm2", "nemotron_h")  # of state, each with and without experts
IDS = [(7919 * i * i + 31 * i) % 341 for i in range(400)]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, model_file: Callable[..., Path]) -> Iterator[flyball.Model]:
    with flyball.Model.load(model_file(request.param, "Q8_0"), context=512) as loaded:
        yield loaded


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_logits_are_the_referees(tmp_path: Path, arch: str, seed: int) -> None:
    path = write_model(tmp_path / "m.gguf", arch, "F32", seed=seed).path
    with flyball.Model.load(path, cache_type="f32") as loaded:
        ours = loaded.session(context=128).logits(IDS[:90])
    assert distance(reference_logits(path, IDS[:90]), ours).kl_max < 1e-9


@pytest.mark.parametrize(("n_key", "n_head", "dim"), [(1, 2, 20), (2, 6, 40), (3, 3, 128)])
def test_heads_of_every_size(tmp_path: Path, n_key: int, n_head: int, dim: int) -> None:
    path = write_model(tmp_path / "m.gguf", "qwen35", "F32", delta_keys=n_key, delta_heads=n_head, delta_dim=dim).path
    digests = set()
    for isa in flyball.isas():
        with flyball.Model.load(path, isa=isa, cache_type="f32") as loaded:
            session = loaded.session(context=64)
            assert distance(reference_logits(path, IDS[:40]), session.logits(IDS[:40])).kl_max < 1e-9
            digests |= {session.generate(IDS[:40], 3, ignore_eos=True, batch=batch).digest for batch in (7, 512)}
    assert len(digests) == 1


@pytest.mark.parametrize("n_same", [399, 390, 385, 384, 383, 300, 65, 64, 63, 1])
def test_a_session_goes_on_wherever_a_prompt_differs(model: flyball.Model, n_same: int) -> None:
    """From the last snapshot on token by token; before that, from a snapshot that the model still knows."""
    other = [*IDS[:n_same], *IDS[40:60]]
    session = model.session()
    session.generate(IDS, 1, ignore_eos=True, batch=192)
    result = session.generate(other, 5, ignore_eos=True)
    with flyball.Model.load(model.info.path, context=512, prefix_cache_mb=0) as plain:
        alone = plain.session()
        alone.generate(IDS, 1, ignore_eos=True)
        again = alone.generate(other, 5, ignore_eos=True)
        assert result.digest == again.digest == plain.generate(other, 5, ignore_eos=True).digest
    assert again.metrics.cached_tokens == (n_same if n_same >= 384 else 0)
    reused = result.metrics.cached_tokens
    assert reused == n_same if n_same >= 384 else n_same // 192 * 192 <= reused <= n_same and reused % 64 == 0
    assert session.tokens == [*other, *result.tokens[:-1]]


def test_draft_tokens_that_are_refused_leave_no_trace(model: flyball.Model) -> None:
    """The likeliest tokens as drafts are right and wrong in turn, and the drafting session goes back as well."""
    plain = model.session().generate(IDS[:70], 150, seed=3, ignore_eos=True, speculate="off")
    for n in (20, 77, 150):  # some end inside a call whose drafts were right
        session = model.session()
        drafted = session.generate(IDS[:70], n, seed=3, ignore_eos=True, speculate="always", draft=model)
        assert drafted.tokens == plain.tokens[:n]
        following = [*IDS[:70], *drafted.tokens, 7]
        expected = model.session().generate(following, 4, ignore_eos=True, speculate="off")
        assert session.generate(following, 4, ignore_eos=True).digest == expected.digest
    assert 0 < drafted.metrics.speculation.accepted < drafted.metrics.speculation.drafted


def test_sessions_share_prefixes_up_to_a_snapshot(model: flyball.Model) -> None:
    ids = [5, *IDS[:199]]
    first = model.session().generate(ids, 300, seed=1, ignore_eos=True)
    second = model.session().generate(ids, 300, seed=1, ignore_eos=True)
    assert second.digest == first.digest
    assert second.metrics.shared_tokens == 192
    whole = [*ids, *first.tokens]
    third = model.session().generate([*whole, 3], 3, ignore_eos=True)
    assert third.metrics.shared_tokens == 256  # and at 512, and so on, of what was answered


def test_memory_for_states_is_bounded(model_file: Callable[..., Path]) -> None:
    with flyball.Model.load(model_file("qwen35", "Q8_0"), prefix_cache_mb=2, context=512) as small:
        expected = {}
        for n in range(8):
            expected[n] = small.session().generate([n, *IDS[:199]], 2, ignore_eos=True).digest
            assert 0 < small.prefix_cache_bytes <= 2 << 20
        for n in (7, 0):
            again = small.session().generate([n, *IDS[:199]], 2, ignore_eos=True)
            assert again.digest == expected[n]
            assert again.metrics.shared_tokens == (192 if n == 7 else 0)


def test_a_session_holds_what_the_info_says(model: flyball.Model) -> None:
    info = model.info
    assert 3 * info.state_bytes < info.state_memory
    assert model.session(context=512).cache_bytes - info.cache_bytes(512) - info.state_memory in range(1 << 14)


def test_a_saved_session_goes_on(model: flyball.Model, tmp_path: Path) -> None:
    whole = model.session().generate(IDS[:100], 30, seed=4, ignore_eos=True)
    session = model.session()
    session.generate(IDS[:100], 13, seed=4, ignore_eos=True)
    session.save(tmp_path / "state")
    with flyball.Model.load(model.info.path, context=512, prefix_cache_mb=0) as fresh:
        other = fresh.session()
        other.generate(IDS[50:90], 3)
        other.restore(tmp_path / "state")
        assert other.tokens == session.tokens
        again = other.generate([*IDS[:100], *whole.tokens[:13]], 17, ignore_eos=True)
        assert again.metrics.prefill.tokens == 1
        expected = fresh.generate([*IDS[:100], *whole.tokens[:13]], 17, ignore_eos=True)
        assert again.digest == expected.digest


def test_an_answer_stopped_anywhere_leaves_a_state_that_goes_on(model: flyball.Model) -> None:
    expected = model.session().generate(IDS, 4, ignore_eos=True).digest
    reasons = set()
    for milliseconds in range(0, 60, 3):
        with flyball.Model.load(model.info.path, context=512, prefix_cache_mb=0) as fresh:
            session = fresh.session()
            result = session.generate(IDS, 40, ignore_eos=True, batch=32, deadline=milliseconds / 1000 + 1e-4)
            reasons.add(result.stop_reason)
            assert session.tokens == [*IDS, *result.tokens][: len(session.tokens)]
            assert session.generate(IDS, 4, ignore_eos=True).digest == expected
    assert "deadline" in reasons


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ssm.conv_kernel", gf.u32(1), "conv_kernel"),
        ("ssm.conv_kernel", None, "conv_kernel"),
        ("ssm.state_size", gf.u32(0), "state_size"),
        ("ssm.group_count", gf.u32(3), "groups do not divide"),
        ("ssm.inner_size", gf.u32(128), "inner_size"),
        ("full_attention_interval", gf.u32(100), "no layer with attention"),
        ("attention.recurrent_layers", gf.u32s([1, 0]), "has 2 entries"),
    ],
)
def test_refused_by_name(tmp_path: Path, key: str, value: gf.Value | None, expected: str) -> None:
    path = write_model(tmp_path / "m.gguf", "qwen35", "Q8_0", keys={f"qwen35.{key}": value}).path
    with pytest.raises(flyball.Error, match=expected):
        flyball.Model.load(path)
