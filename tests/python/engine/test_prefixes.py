"""Prefixes that sessions share: not computed again, equal bits, bounded memory, the least recently used given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import flyball

SYSTEM = "Once upon a time there was a little dog. It liked to play in the garden. " * 10


@pytest.mark.parametrize("cache", ["f16", "f32", "q8_0"])
def test_a_prefix_is_shared_between_sessions(cache: str) -> None:
    with flyball.Model.load(flyball.demo_model_path(), cache_type=cache) as model:
        ids = list(model.tokenize(SYSTEM + "One day"))
        first = model.session().generate(ids, 20, seed=1)
        assert first.metrics.shared_tokens == 0
        second = model.session().generate(ids, 20, seed=1)
        assert second.digest == first.digest
        assert second.metrics.shared_tokens == second.metrics.cached_tokens == (len(ids) - 1) // 64 * 64
        assert second.metrics.prefill.tokens == len(ids) - second.metrics.shared_tokens
        other = model.session().generate([*ids[:100], *ids[40:0:-1]], 20, seed=1)
        assert other.metrics.shared_tokens == 64
        with flyball.Model.load(flyball.demo_model_path(), cache_type=cache, prefix_cache_mb=0) as plain:
            assert plain.generate([*ids[:100], *ids[40:0:-1]], 20, seed=1).digest == other.digest
            assert plain.generate(ids, 20, seed=1).digest == first.digest
            assert plain.generate(ids, 20, seed=1).metrics.shared_tokens == 0


def test_an_answer_is_a_prefix_too(demo: flyball.Model) -> None:
    answer = demo.session().generate(SYSTEM, 100, seed=2, ignore_eos=True)
    whole = [*answer.prompt, *answer.tokens]
    following = demo.session().generate([*whole, *demo.tokenize(" The end")], 10, seed=2)
    assert following.metrics.shared_tokens >= (len(whole) - 1) // 64 * 64


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    with flyball.Model.load(flyball.demo_model_path(), prefix_cache_mb=4) as model:
        texts = [f"{n} {SYSTEM}" for n in range(12)]
        expected = {}
        for n, text in enumerate(texts):
            expected[n] = model.session().generate(text, 3, seed=1).digest
            assert model.prefix_cache_bytes <= 4 << 20
        newest = model.session().generate(texts[-1], 3, seed=1)
        oldest = model.session().generate(texts[0], 3, seed=1)
        assert newest.metrics.shared_tokens > 0
        assert oldest.metrics.shared_tokens == 0
        assert (newest.digest, oldest.digest) == (expected[11], expected[0])


def test_sessions_with_other_settings_do_not_share(demo: flyball.Model) -> None:
    demo.session(cache_type="f32").generate(SYSTEM, 2)
    result = demo.session(cache_type="q8_0").generate(SYSTEM, 2)
    assert result.metrics.shared_tokens == 0


def test_a_session_file_needs_no_computing(demo: flyball.Model, tmp_path: Path) -> None:
    session = demo.session()
    first = session.generate(SYSTEM, 30, seed=3)
    session.save(tmp_path / "s.session")
    with flyball.Model.load(flyball.demo_model_path(), prefix_cache_mb=0) as fresh:
        restored = fresh.session()
        restored.restore(tmp_path / "s.session")
        again = restored.generate([*first.prompt, *first.tokens], 10, seed=3)
        assert again.metrics.cached_tokens == len(first.prompt) + len(first.tokens) - 1
        assert again.metrics.prefill.tokens == 1


def test_many_threads_share(model_file: Callable[..., Path]) -> None:
    """Blocks come and go under many hands: a small cache, long prompts, every answer compared."""
    with flyball.Model.load(model_file("llama", "Q8_0"), context=512, prefix_cache_mb=1) as model:
        n_vocab = model.info.n_vocab
        prompts = [[(31 * n + 7 * i * i) % n_vocab for i in range(400)] for n in range(6)]
        with flyball.Model.load(model_file("llama", "Q8_0"), context=512, prefix_cache_mb=0) as plain:
            expected = [plain.generate(prompt, 4, seed=1, ignore_eos=True).digest for prompt in prompts]
        wrong: list[int] = []

        def work(start: int) -> None:
            for turn in range(12):
                n = (start + turn * 5) % len(prompts)
                if model.generate(prompts[n], 4, seed=1, ignore_eos=True).digest != expected[n]:
                    wrong.append(n)

        threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert model.prefix_cache_bytes <= 1 << 20


@pytest.mark.parametrize("variant", ["llama", "qwen35"])
def test_a_hit_never_crosses_roots(model_file: Callable[..., Path], variant: str) -> None:
    with flyball.Model.load(model_file(variant, "Q8_0"), context=512) as model:
        ids = [(31 * i + 7 * i * i) % 300 for i in range(300)]
        roots = [b"", b"a", b"b", b"a\0", b"\0", bytes(range(64))]
        first = [model.session().generate(ids, 4, ignore_eos=True, prefix_root=root) for root in roots]
        assert [answer.metrics.cached_tokens for answer in first] == [0] * len(roots)
        again = [model.session().generate(ids, 4, ignore_eos=True, prefix_root=root) for root in roots]
        assert all(answer.metrics.shared_tokens >= 192 for answer in again)
        many = model.generate_many([ids] * 6, 4, ignore_eos=True, each=[{"prefix_root": root} for root in roots])
        assert all(answer.metrics.shared_tokens >= 192 for answer in many)
        other = model.generate(ids, 4, ignore_eos=True, prefix_root=b"c")
        assert other.metrics.cached_tokens == 0
        assert len({answer.digest for answer in [*first, *again, *many, other]}) == 1
        assert len({answer.request_key for answer in [*first, other]}) == 1


def test_a_session_of_another_root_forgets(small: flyball.Model, tmp_path: Path) -> None:
    ids = list(range(1, 150))
    session = small.session()
    plain = session.generate(ids, 4, ignore_eos=True, prefix_root=b"a")
    same = session.generate(ids, 4, ignore_eos=True, prefix_root=b"a")
    assert (same.metrics.cached_tokens, same.metrics.shared_tokens) == (148, 0)
    other = session.generate(ids, 4, ignore_eos=True, prefix_root=b"b")
    assert other.metrics.cached_tokens == 0
    back = session.generate(ids, 4, ignore_eos=True, prefix_root=b"a")  # what it shared before is still there
    assert (back.metrics.cached_tokens, back.metrics.shared_tokens) == (128, 128)
    assert {answer.digest for answer in (same, other, back)} == {plain.digest}
    session.save(tmp_path / "s")
    restored = small.session()
    restored.generate([3], 1, prefix_root=b"x")
    restored.restore(tmp_path / "s")
    assert restored.generate(ids, 4, ignore_eos=True, prefix_root=b"y").metrics.cached_tokens == 148  # its own
    assert restored.generate(ids, 4, ignore_eos=True, prefix_root=b"z").metrics.cached_tokens == 0


def test_a_root_is_at_most_64_bytes(small: flyball.Model) -> None:
    assert small.generate([1], 2, prefix_root=bytes(64)).tokens
    with pytest.raises(flyball.InvalidArgument, match="prefix_root: has 65 bytes"):
        small.generate([1], 2, prefix_root=bytes(65))
    for wrong in ("text", None, 5):
        with pytest.raises(flyball.InvalidArgument, match="prefix_root"):
            small.generate([1], 2, prefix_root=wrong)  # type: ignore[arg-type]
