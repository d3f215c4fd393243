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
