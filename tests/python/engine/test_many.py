"""Lists of prompts: options of each, errors in their places, results as they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import flyball

PROMPTS = ["Once upon a time", "Lily had a", "One day", "7+5=", "x"]


def test_each_prompt_has_its_own_options(demo: flyball.Model) -> None:
    each = [{"seed": n, "max_tokens": 3 + n, "temperature": 0.5 + n / 10} for n in range(5)]
    expected = [
        demo.generate(prompt, 3 + n, top_k=10, seed=n, temperature=0.5 + n / 10).digest
        for n, prompt in enumerate(PROMPTS)
    ]
    assert [result.digest for result in demo.generate_many(PROMPTS, 9, top_k=10, each=each)] == expected
    results = asyncio.run(demo.agenerate_many(PROMPTS, 9, top_k=10, each=iter(each), parallel=2))
    assert [result.digest for result in results] == expected


def test_common_options_hold_where_a_prompt_has_none(demo: flyball.Model) -> None:
    first, second = demo.generate_many(["x", "x"], 6, seed=4, each=[{}, {"seed": 5}])
    assert first.digest == demo.generate("x", 6, seed=4).digest
    assert second.digest == demo.generate("x", 6, seed=5).digest


@pytest.mark.parametrize("each", [[{}], [{}, {}, {}], 5, "ab", [{}, 5], [{}, None]], ids=repr)
def test_wrong_options_of_each(demo: flyball.Model, each: Any) -> None:
    with pytest.raises(flyball.InvalidArgument, match="each"):
        demo.generate_many(["x", "y"], 3, each=each)


@pytest.mark.parametrize("prompts", ["text", b"bytes", None, 5], ids=repr)
def test_prompts_that_are_no_list(demo: flyball.Model, prompts: Any) -> None:
    with pytest.raises(flyball.InvalidArgument, match="prompts"):
        demo.generate_many(prompts, 3)


def test_errors_in_their_places(demo: flyball.Model) -> None:
    wrong: list[Any] = ["Lily", [1] * 5000, "Lily", None]
    for results in (
        demo.generate_many(wrong, 8, seed=1, return_exceptions=True),
        asyncio.run(demo.agenerate_many(wrong, 8, seed=1, return_exceptions=True)),
        [
            r
            for _, r in sorted(demo.generate_as_completed(wrong, 8, seed=1, return_exceptions=True), key=lambda x: x[0])
        ],
    ):
        first, second, third, fourth = results
        assert isinstance(first, flyball.Result)
        assert isinstance(third, flyball.Result)
        assert first.digest == third.digest
        assert isinstance(second, flyball.ContextFull)
        assert isinstance(fourth, flyball.InvalidArgument)
        assert second.__traceback__ is None  # its frames would keep the model


def test_results_as_they_come(demo: flyball.Model) -> None:
    each = [{"max_tokens": n} for n in (60, 1, 20)]
    expected = [demo.generate("Once", n, seed=1, ignore_eos=True).digest for n in (60, 1, 20)]
    found = list(demo.generate_as_completed(["Once"] * 3, each=each, seed=1, ignore_eos=True))
    assert [number for number, _ in found] == [1, 2, 0]
    assert [result.digest for _, result in sorted(found, key=lambda pair: pair[0])] == expected

    async def main() -> list[int]:
        return [
            number async for number, _ in demo.agenerate_as_completed(["Once"] * 3, each=each, seed=1, ignore_eos=True)
        ]

    assert asyncio.run(main()) == [1, 2, 0]


def test_a_wrong_prompt_is_told_at_the_call(demo: flyball.Model) -> None:
    with pytest.raises(flyball.ContextFull):
        demo.generate_as_completed(["x", [1] * 5000])

    async def main() -> None:
        with pytest.raises(flyball.ContextFull):
            demo.agenerate_as_completed(["x", [1] * 5000])

    asyncio.run(main())


def test_leaving_the_loop_ends_the_rest(demo: flyball.Model) -> None:
    completed = demo.generate_as_completed(["x"] + ["Once upon a time"] * 30, 400, parallel=8, ignore_eos=True)
    next(completed)
    completed.close()  # type: ignore[attr-defined]
    assert len(demo.generate_many(["x"], 1)) == 1  # room for others at once
    batcher = demo._handle.batcher
    assert not batcher._calls


def test_one_after_the_other(demo: flyball.Model) -> None:
    found = [n for n, _ in demo.generate_as_completed(["Once"] * 5, 10, parallel=1, ignore_eos=True)]
    assert found == list(range(5))


def test_none_at_all(demo: flyball.Model) -> None:
    assert demo.generate_many([]) == []
    assert list(demo.generate_as_completed([], each=[])) == []
