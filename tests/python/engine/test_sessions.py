"""Sessions: prefix reuse, saving and restoring, and files that lie."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball

PROMPT = [(13 * i + 7) % 300 for i in range(60)]


def test_cached_prefix_is_not_computed_again_and_changes_nothing(small: flyball.Model) -> None:
    fresh = small.generate(PROMPT, 8, ignore_eos=True)
    session = small.session()
    session.generate(PROMPT[:40], 4, ignore_eos=True)
    again = session.generate(PROMPT, 8, ignore_eos=True)
    assert again.digest == fresh.digest
    assert again.metrics.cached_tokens == 40
    assert again.metrics.prefill.tokens == 20
    assert fresh.metrics.prefill.tokens == 60


def test_equal_prompt_computes_its_last_token_only(small: flyball.Model) -> None:
    session = small.session()
    first = session.generate(PROMPT, 4, ignore_eos=True)
    second = session.generate(PROMPT, 4, ignore_eos=True)
    assert second.digest == first.digest
    assert second.metrics.prefill.tokens == 1
    assert second.metrics.prompt_tokens == 60


def test_session_knows_its_tokens_and_counts(small: flyball.Model) -> None:
    session = small.session(context=128, cache_type="f32")
    assert (session.context, session.cache_type, session.tokens) == (128, "f32", [])
    assert session.cache_bytes >= small.info.cache_bytes(128, "f32")
    result = session.generate(PROMPT, 5, ignore_eos=True)
    assert session.tokens == [*PROMPT, *result.tokens[:-1]]
    metrics = session.metrics
    assert (metrics.generations_started, metrics.generations_completed) == (1, 1)
    assert metrics.prefill.tokens == 60
    assert metrics.decode.tokens == 4
    session.reset()
    assert session.tokens == []
    assert session.metrics.cache_resets == 1


def test_an_old_stream_cannot_go_on_after_other_work(small: flyball.Model) -> None:
    session = small.session()
    stream = session.stream(PROMPT, 10, ignore_eos=True)
    next(stream)
    session.generate([1, 2, 3], 1)
    with pytest.raises(flyball.InvalidArgument):
        next(stream)


@pytest.mark.parametrize("cache", ["f16", "f32", "q8_0"])
def test_restored_session_continues_with_equal_bits(small: flyball.Model, cache: str, tmp_path: Path) -> None:
    whole = small.session(cache_type=cache).generate(PROMPT, 12, ignore_eos=True, seed=4)
    session = small.session(cache_type=cache)
    session.generate(PROMPT, 6, ignore_eos=True, seed=4)
    session.save(tmp_path / "state")
    other = small.session(cache_type=cache)
    other.restore(tmp_path / "state")
    assert other.tokens == session.tokens
    again = other.generate(PROMPT, 12, ignore_eos=True, seed=4)
    assert again.digest == whole.digest
    assert again.metrics.prefill.tokens == 1
    deeper = other.generate([*PROMPT, *whole.tokens], 3, ignore_eos=True)
    fresh = small.session(cache_type=cache).generate([*PROMPT, *whole.tokens], 3, ignore_eos=True)
    assert deeper.digest == fresh.digest


def test_restore_refuses_another_model_or_setting(
    small: flyball.Model, model_file: Callable[..., Path], tmp_path: Path
) -> None:
    session = small.session()
    session.generate(PROMPT, 2, ignore_eos=True)
    session.save(tmp_path / "state")
    with flyball.Model.load(model_file("llama", "Q4_0"), context=256) as other, pytest.raises(flyball.Error):
        other.session().restore(tmp_path / "state")
    for target in (small.session(cache_type="f32"), small.session(context=128)):
        target.generate([5, 6], 1)
        before = target.tokens
        with pytest.raises(flyball.Error):
            target.restore(tmp_path / "state")
        assert target.tokens == before


def test_save_and_restore_name_the_path(small: flyball.Model, tmp_path: Path) -> None:
    session = small.session()
    session.generate(PROMPT, 1)
    with pytest.raises(flyball.NotFound, match="nothing-here"):
        session.restore(tmp_path / "nothing-here")
    with pytest.raises(flyball.Error, match="no-folder"):
        session.save(tmp_path / "no-folder" / "state")


def test_mutated_session_files_are_refused_and_change_nothing(small: flyball.Model, tmp_path: Path) -> None:
    session = small.session(context=64)
    session.generate(PROMPT[:20], 4, ignore_eos=True)
    session.save(tmp_path / "state")
    good = (tmp_path / "state").read_bytes()
    target = small.session(context=64)
    target.generate([9, 8, 7], 2, ignore_eos=True)
    before = target.generate([9, 8, 7, 6], 4, ignore_eos=True).digest
    draw = random.Random(1)
    refused = 0
    for turn in range(400):
        bad = bytearray(good)
        kind = turn % 4
        if kind == 0:
            bad = bad[: draw.randrange(len(bad))]
        elif kind == 1:
            position = draw.randrange(min(len(bad), 512) if turn % 8 else len(bad))
            bad[position] ^= 1 << draw.randrange(8)
        elif kind == 2:
            position = draw.randrange(0, 256, 4)
            bad[position : position + 8] = draw.choice([b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f"])
        else:
            bad += draw.randbytes(draw.randrange(1, 64))
        if bytes(bad) == good:
            continue
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(flyball.Error):
            target.restore(tmp_path / "bad")
        refused += 1
    assert refused > 350
    assert target.generate([9, 8, 7, 6], 4, ignore_eos=True).digest == before
